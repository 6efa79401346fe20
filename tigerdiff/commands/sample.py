"""``tigerdiff sample``: pictures from a trained network."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import typer

from tigerdiff.commands.options import METAVARS, with_options
from tigerdiff.commands.shell import check_place

WORDS = {"fur": "WORD", "backdrop": "WORD", "mouth": "WORD", "age": "WORD"}
CONDITION = {"Condition, for a conditional network": (*WORDS, "condition", "guidance")}


@with_options(METAVARS | WORDS | {"condition": "NAME=WORD"}, groups=CONDITION)
def sample_command(
    checkpoint: str,
    out: Path = Path("grid.png"),
    n: int = 16,
    sampler: str = "ddim",
    steps: int = 50,
    seed: int = 0,
    device: str | None = None,
    force: bool = False,
    fur: str | None = None,
    backdrop: str | None = None,
    mouth: str | None = None,
    age: str | None = None,
    condition: list[str] | None = None,
    guidance: float = 1.0,
) -> None:
    """Draw images with a trained network, as one picture.

    \b
    tigerdiff sample --checkpoint ddpm-tiger-64 --steps 25 --out grid.png
    tigerdiff sample --checkpoint runs/tigers -n 16 --seed 1 --out grid.png
    tigerdiff sample --checkpoint ddpm-tiger-64 --fur white --guidance 2

    It runs on a GPU (NVIDIA's with CUDA, Apple's) if there is one, else on the
    CPU. The same image of a seed may differ by 1 of 255 in a few colours where
    -n or the machine is another, as float32 is rounded in another order.

    Args:
        checkpoint: the network: a shipped model (ddpm-tiger-64), a run's folder (its newest
            checkpoint), an exported folder, or owner/name on the Hugging Face Hub. What exists as
            a folder is taken for that.
        out: the picture to write.
        n: number of images.
        sampler: how to draw: ddpm is the classic one, the others need few steps.
        steps: calls of the network, at most its T (1000).
        seed: the same seed gives the same images.
        device: where to compute; None: a GPU if there is one.
        force: replace ``out`` if it exists.
        fur: a word that the network knows; a wrong one is answered with the list.
        backdrop: a word for what is behind the tiger.
        mouth: a word for its mouth.
        age: a word for its age.
        condition: any attribute that the network has; may be repeated.
        guidance: how strongly the condition is followed: 1 as trained, 2 or 3 more.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    from tigerdiff.checks import check_path
    from tigerdiff.devices import find_device
    from tigerdiff.drawing import sample
    from tigerdiff.pretrained.load import load_pretrained
    from tigerdiff.training.checkpoints import check_picture_name, save_grid

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Check what can fail before the work, not after it.
    words = {"fur": fur, "backdrop": backdrop, "mouth": mouth, "age": age}
    asked = asked_for(
        {name: word for name, word in words.items() if word is not None}, condition or []
    )
    check_path("--checkpoint", checkpoint, or_else=" or owner/name on the Hub")
    out, where = check_picture_name(out), find_device(device)
    check_place(out)
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists: replace it with --force, or choose another --out")
    model, schedule = load_pretrained(checkpoint)
    if asked and not model.classes:
        raise ValueError(f"{checkpoint} is unconditional: leave out {', '.join(asked)}")
    if guidance != 1 and not asked:
        raise ValueError("--guidance goes with a condition, such as --fur white")
    if asked:
        model.condition(**asked)  # refuses what the network does not know
    size: Any = model.config["size"]
    images = sample(
        model.to(where), schedule, n, size=size, sampler=sampler, steps=steps, seed=seed,
        condition=asked, guidance_scale=guidance,
    )  # fmt: skip
    save_grid(images, out)
    typer.echo(f"{out}: {n} images of {size} x {size} pixels")


def asked_for(words: dict[str, str], pairs: list[str]) -> dict[str, str]:
    """Return attributes and words: those of the short options, and NAME=WORD pairs."""
    from tigerdiff.data.tables import composed

    words = {name: composed(word) for name, word in words.items()}
    for pair in pairs:
        name, equals, word = composed(pair).partition("=")
        if not (name and equals and word):
            raise ValueError(f"--condition must be NAME=WORD, such as fur=white (got {pair!r})")
        if words.setdefault(name, word) != word:
            raise ValueError(f"{name} is asked for twice: {words[name]} and {word}")
    return words
