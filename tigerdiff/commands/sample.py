"""``tigerdiff sample``: pictures from a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tigerdiff.commands.options import CHECKPOINT, SAMPLERS, Device, path
from tigerdiff.commands.shell import check_place

CONDITION = "Condition, for a conditional network"
Word = Annotated[
    str,
    typer.Option(
        metavar="WORD",
        show_default=False,
        rich_help_panel=CONDITION,
        help="A word that the network knows; a wrong one is answered with the list.",
    ),
]


def sample_command(
    checkpoint: Annotated[str, typer.Option(metavar="NAME|DIR", help=f"The network: {CHECKPOINT}")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", parser=path, help="The picture to write.")
    ] = Path("grid.png"),
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images.")] = 16,
    sampler: Annotated[
        str,
        typer.Option(
            metavar=SAMPLERS,
            help="How to draw: ddpm is the classic one, the others need few steps.",
        ),
    ] = "ddim",
    steps: Annotated[
        int, typer.Option(min=1, help="Calls of the network, at most its T (1000).")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    device: Device = None,  # type: ignore[assignment]
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
    fur: Word = "",
    backdrop: Word = "",
    mouth: Word = "",
    age: Word = "",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WORD",
            show_default=False,
            rich_help_panel=CONDITION,
            help="Any attribute that the network has; may be repeated.",
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(
            rich_help_panel=CONDITION,
            help="How strongly the condition is followed: 1 as trained, 2 or 3 more.",
        ),
    ] = 1.0,
) -> None:
    """Draw images with a trained network, as one picture.

    \b
    tigerdiff sample --checkpoint ddpm-tiger-64 --steps 25 --out grid.png
    tigerdiff sample --checkpoint runs/tigers -n 16 --seed 1 --out grid.png
    tigerdiff sample --checkpoint runs/asked --fur white --backdrop snow --guidance 2

    It runs on a GPU (NVIDIA's with CUDA, Apple's) if there is one, else on the
    CPU. The same image of a seed may differ by 1 of 255 in a few colours where
    -n or the machine is another, as float32 is rounded in another order.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    short = {"fur": fur, "backdrop": backdrop, "mouth": mouth, "age": age}
    words = asked_for({name: word for name, word in short.items() if word}, condition or [])
    draw(checkpoint, out, force, words, guidance, device, n, sampler, steps, seed)


def draw(
    checkpoint: str,
    out: Path,
    force: bool,
    words: dict[str, str],
    guidance: float,
    device: str | None,
    n: int,
    sampler: str,
    steps: int,
    seed: int,
) -> None:
    """Draw images and write them; what can fail is tried before the work, not after it."""
    from tigerdiff.devices import find_device
    from tigerdiff.drawing import sample
    from tigerdiff.pretrained.load import load_pretrained
    from tigerdiff.training.checkpoints import check_picture_name, save_grid

    out, where = check_picture_name(out), find_device(device)
    check_place(out)
    if out.exists() and not force:
        raise FileExistsError(f"{out} exists: replace it with --force, or choose another --out")
    model, schedule = load_pretrained(checkpoint)
    if words and not model.classes:
        raise ValueError(f"{checkpoint} is unconditional: leave out {', '.join(words)}")
    if guidance != 1 and not words:
        raise ValueError("--guidance goes with a condition, such as --fur white")
    if words:
        model.condition(**words)  # refuses what the network does not know
    size: Any = model.config["size"]
    images = sample(
        model.to(where), schedule, n, size=size, sampler=sampler, steps=steps, seed=seed,
        condition=words, guidance_scale=guidance,
    )  # fmt: skip
    save_grid(images, out)
    typer.echo(f"{out}: {n} images of {size} x {size} pixels")


def asked_for(words: dict[str, str], pairs: list[str]) -> dict[str, str]:
    """Return attributes and words: those of the short options, and NAME=WORD pairs.

    Raises:
        ValueError: if one is no such pair, or an attribute comes twice.
    """
    for pair in pairs:
        name, equals, word = pair.partition("=")
        if not (name and equals and word):
            raise ValueError(f"--condition must be NAME=WORD, such as fur=white (got {pair!r})")
        if words.get(name, word) != word:
            raise ValueError(f"{name} is asked for twice: {words[name]} and {word}")
        words[name] = word
    return words
