"""A two-way choice for people, in the page and without a kernel: which picture was drawn?"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch

from tigerdiff.checks import in_short, whole_number
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.notebook.pictures import (
    Picture,
    Shown,
    checked_texts,
    figure_html,
    grid_html,
    picture_list,
    png_sheet,
    scripts_html,
    to_picture,
)

QUESTION = "Which one was drawn by the network?"


def two_way_choice(
    real: Any,
    drawn: Any,
    *,
    alt: tuple[Sequence[str], Sequence[str]],
    caption: str | None = None,
    width: int = 190,
    seed: int = 0,
) -> Shown:
    """Ask the reader, pair by pair, which of two pictures was drawn.

    The page counts the right answers and shows Wilson's interval (1927) of their share. It says
    nothing before the last pair, so that no one learns during the test, and it stores and sends
    nothing.

    Args:
        real: N pictures as in :func:`.show_images`, all of one size.
        drawn: as many pictures of the same size; the k-th of both make a pair.
        alt: what each real picture shows, and what each drawn one shows, found in the same way
            for both, so that the words do not give the answer.
        caption: a sentence under the figure.
        width: of each picture in CSS pixels.
        seed: of the order of the pairs and of the sides. Half of the drawn ones are on the left.

    Returns:
        An object that the notebook shows.

    Raises:
        ValueError: for a wrong shape, dtype, length or size, naming the argument.
    """
    sets = [
        [to_picture(x, name, width, False) for x in picture_list(images, name)]
        for name, images in (("real", real), ("drawn", drawn))
    ]
    n = len(sets[0])
    if not n or len(sets[1]) != n or len({p.image.size for row in sets for p in row}) > 1:
        raise ValueError("real and drawn must be equally many pictures of one size, at least one")
    if not isinstance(alt, (list, tuple)) or len(alt) != 2:
        raise ValueError(f"alt must be two lists of texts (got {in_short(alt)})")
    texts = [checked_texts(each, None, n)[0] for each in alt]
    whole_number("seed", seed, 0, 2**64 - 1)
    generator = seeded_generator(seed)
    order = torch.randperm(n, generator=generator).tolist()
    sides = (torch.randperm(n, generator=generator) % 2).tolist()
    pairs = []
    for k, side in zip(order, sides, strict=True):
        both = [(row[k], words[k]) for row, words in zip(sets, texts, strict=True)]
        pairs.append((both if side else both[::-1], side))
    return shown(pairs, caption)


def shown(pairs: list[tuple[list[tuple[Picture, str]], int]], caption: str | None) -> Shown:
    """Return the choice for the page: left and right of each pair, and which of them was drawn."""
    pictures, alts = map(list, zip(*pairs[0][0], strict=True))
    stored = [
        {"uris": [p.uri for p, _ in pair], "alts": [words for _, words in pair], "drawn": side}
        for pair, side in pairs
    ]
    grid = grid_html(pictures, alts, ["left", "right"], 2)
    body = f'{grid}<p class="tigerdiff-readout" role="status"><span>{escape(QUESTION)}</span></p>'
    html = figure_html(body, caption, scripts_html(stored, "choice.js"), "choice")
    return Shown(html, f"{len(pairs)} pairs: {QUESTION}", png_sheet(pictures, 2))
