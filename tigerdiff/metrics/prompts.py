"""What a picture of a tiger shows, in words, and whether it is what was asked for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tigerdiff.checks import check_kind, real_number
from tigerdiff.data.tensors import described
from tigerdiff.metrics.judge import BATCH, checked, shipped_judge
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger

Asked = Tiger | Mapping[str, Any]
TOLERANCE = 0.1  # of a range's width: a gaze or a tilt so far from what was asked counts as shown


def judge(images: Tensor) -> dict[str, Any]:
    """Read the attributes of tigers off their pictures.

    Args:
        images: uint8 (N, 3, S, S).

    Returns:
        A dict by attribute; for one of words ("fur" ...) a list of N words, such as ``["white",
        "orange"]``; for one of numbers ("gaze_x" ...) float32 (N,) in its own unit, on the CPU.

    Raises:
        ValueError: the pictures are not as above.
    """
    network = shipped_judge(checked(images, "images", 1).device)
    with torch.inference_mode():
        parts = [network(part) for part in images.split(BATCH)]
    answers: dict[str, Any] = {name: torch.cat([p[name] for p in parts]).cpu() for name in parts[0]}
    for name, (low, high) in RANGES.items():
        answers[name] = low + (high - low) * (answers[name] + 1) / 2
    for name, words in CHOICES.items():
        answers[name] = [words[i] for i in answers[name].argmax(1)]
    return answers


def log_probability(images: Tensor, **words: str) -> Tensor:
    """Return the logarithm of the probability that the judge gives to attributes of tigers.

    Classifier guidance needs its gradient with respect to the pictures (Dhariwal & Nichol 2021,
    section 4).

    Args:
        images: float32 (N, 3, S, S) in [-1, 1].
        words: attribute to word, such as ``fur="white"``; the probabilities of several multiply.

    Returns:
        (N,), at most 0, on the device of the images.

    Raises:
        ValueError: the pictures are not as above, or an attribute or a word is unknown.
    """
    check_kind("images", images, Tensor)
    sound = images.is_floating_point() and images.dim() == 4 and images.shape[1] == 3
    if not sound or not images.numel():
        raise ValueError(f"images must be float (N, 3, S, S), not {described(images)}")
    if not words or not set(words) <= set(CHOICES):
        raise ValueError(f"words must name some of {', '.join(CHOICES)} (got {', '.join(words)})")
    _asked(words)
    answers = shipped_judge(images.device)(images.float())
    logs = [answers[name].log_softmax(1)[:, CHOICES[name].index(x)] for name, x in words.items()]
    return torch.stack(logs).sum(0)


def prompt_accuracy(images: Tensor, attributes: Sequence[Asked]) -> dict[str, float]:
    """Return the share of the pictures that show what was asked, for each attribute.

    The judge decides, and it errs now and then: ``tigerdiff/metrics/judge.json`` records how often.
    A number (gaze, tilt ...) counts as shown when it is read within a tenth of its range's width.

    Args:
        images: uint8 (N, 3, S, S).
        attributes: what was asked of each image: a :class:`.Tiger`, or a dict that names only some
            attributes, such as ``{"fur": "white"}``; then only those are judged.

    Returns:
        The share of right ones, 0 to 1, by attribute, among the images that were asked for it.

    Raises:
        ValueError: the entries are not as many as the images, or one names an unknown attribute or
            word.
    """
    check_kind("attributes", attributes, list, tuple)
    n, entries = len(checked(images, "images", 1)), len(attributes)
    if n != entries:
        raise ValueError(f"attributes must have an entry for each of {n} images, not {entries}")
    return share_shown(judge(images), [_asked(entry) for entry in attributes])


def share_shown(answers: dict[str, Any], asked: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the share of the answers of :func:`judge` that agree with what was asked."""
    shares = {}
    for name in [*CHOICES, *RANGES]:
        if rows := [i for i, entry in enumerate(asked) if name in entry]:
            near = TOLERANCE * (RANGES[name][1] - RANGES[name][0]) if name in RANGES else 0
            pairs = [(answers[name][i], asked[i][name]) for i in rows]
            right = [x == y if name in CHOICES else abs(x - y) <= near for x, y in pairs]
            shares[name] = sum(map(bool, right)) / len(right)
    return shares


def _asked(entry: Asked) -> Mapping[str, Any]:
    """Return what a tiger or a dict asks for; raise ValueError unless it can be judged."""
    names = [*CHOICES, *RANGES]
    if isinstance(entry, Tiger):
        return {name: getattr(entry, name) for name in names}
    check_kind("each of attributes", entry, Mapping)
    for name, value in entry.items():
        if name not in names:
            there = f"there are {', '.join(names)}"
            raise ValueError(f"attributes name {name!r}, which cannot be judged: {there}")
        if name in CHOICES and value not in CHOICES[name]:
            words = ", ".join(CHOICES[name])
            raise ValueError(f"attributes ask for {name} {value!r}: it must be one of {words}")
        if name in RANGES:
            real_number(f"attributes: {name}", value, "a finite number", math.isfinite)
    return entry
