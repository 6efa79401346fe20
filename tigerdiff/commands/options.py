"""The commands ``tigerdiff render`` and ``tigerdiff evaluate``, and what all commands need."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tigerdiff.commands import evaluate as _evaluation
from tigerdiff.data.painted import read_tigers, render_folder
from tigerdiff.pretrained.load import find_pretrained
from tigerdiff.sampling import SAMPLERS

CHECKPOINT = (
    "a shipped model (ddpm-tiger-64), a run's folder (its newest checkpoint), an exported folder, "
    "or owner/name on the Hugging Face Hub. What exists as a folder is taken for that."
)


def render_command(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to fill, new or empty.")
    ] = Path("tigers"),
    n: Annotated[int, typer.Option("-n", min=1, help="Number of tigers.")] = 64,
    size: Annotated[
        int, typer.Option(help="Height and width of the pictures in pixels, 16 to 1024.")
    ] = 128,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same tigers.")] = 0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where it was interrupted, or add more tigers."),
    ] = False,
) -> None:
    """Paint tigers into a folder, with captions that are true.

    \b
    tigerdiff render -n 64 --size 128 --out tigers
    tigerdiff train --data tigers --out runs/tigers

    Beside the pictures lie captions.csv (file_name and text) and metadata.csv,
    which has every attribute of every tiger too. Hugging Face datasets loads
    the folder: load_dataset("imagefolder", data_dir="tigers").
    """  # noqa: D301 - the \b keeps typer from joining the lines
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        render_folder(out, n, size, seed, resume=resume)
    except KeyboardInterrupt:
        line = f"Stopped; {len(read_tigers(out))} of {n} tigers are in {out}. Go on with:"
        typer.echo(f"\n{line}\n  {go_on_command()}", err=True)
        raise typer.Exit(130) from None
    there = len(read_tigers(out))
    typer.echo(f"{out}: {there} tigers of {size} x {size} pixels, captions.csv and metadata.csv")


def evaluate_command(
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of pictures to judge.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help=f"Or judge what a network draws: {CHECKPOINT}"),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SAMPLERS), show_default="ddim", help="For --checkpoint: how to draw."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, show_default="50", help="For --checkpoint: calls of the network."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=_evaluation.FEWEST,
            show_default="all of --images, 2048 by --checkpoint",
            help="Number of pictures.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of what is drawn, or chosen where -n is fewer.")
    ] = 0,
    reference: Annotated[
        str,
        typer.Option(
            metavar="painted|DIR", help="What to compare with: new painted tigers, or a folder."
        ),
    ] = "painted",
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The results as JSON, with how they were had.")
    ] = Path("evaluation.json"),
) -> None:
    """Measure how good pictures of tigers are.

    \b
    tigerdiff evaluate --images tigers
    tigerdiff evaluate --checkpoint ddpm-tiger-64 --steps 25 -n 2048
    tigerdiff evaluate --checkpoint runs/painted --steps 50 -n 2048

    The distances between the pictures and as many real ones are better the
    smaller they are; but few pictures make the Frechet distance large, so
    the column "floor" says what as many other real ones get. The score of
    the nearest neighbour, among the training pictures if they are known, is
    0 for a copy and about 1 for a new picture; below 0.5 it is counted as a
    copy. If the folder's metadata.csv has the attributes that were asked for,
    as that of tigerdiff render has, "as asked" is the share that shows them.

    The training pictures are known of a run's folder, and of any other model
    whose card.json says which painted tigers they were.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    if (images is None) == (checkpoint is None):
        raise ValueError("evaluate needs either --images or --checkpoint, and not both")
    if images is not None and (sampler or steps):
        raise ValueError("--sampler and --steps go with --checkpoint, not with --images")
    command = typed(["tigerdiff", *sys.argv[1:]])
    folder = None if checkpoint is None else find_pretrained(checkpoint)
    _evaluation.check_reference(reference, folder)  # before the work, not after it
    _evaluation.check_out(out, command)
    training = None
    if folder is not None:
        how = (sampler or "ddim", steps or 50, n or 2048)
        training = _evaluation.training_pictures(folder, how[-1])
        pictures = _evaluation.drawn_pictures(folder, *how, seed)
    else:
        assert images is not None
        pictures = _evaluation.folder_pictures(images, n, seed)
    real, floor = _evaluation.reference_pictures(reference, pictures.images, seed)
    if folder is not None and training is None:
        training = real._replace(source=f"{real.source}, as no training pictures were found")
    results = _evaluation.evaluate(pictures, real, floor, training)
    typer.echo(_evaluation.table(results))
    _evaluation.write(_evaluation.provenance(command, seed) | results, out)
    typer.echo(f"\n{out}: these, the seeds and the versions")


def go_on_command() -> str:
    """The line that goes on with the command that was interrupted."""
    options = [word for word in sys.argv[1:] if word != "--resume"]
    return typed([*program(), *options, "--resume"])


def program() -> list[str]:
    """The words that start this program again, however it was started."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return [sys.executable, "-m", "tigerdiff"]
    found = shutil.which(path.name)
    on_path = found and Path(found).parent.resolve() == path.parent.resolve()
    return [path.name if on_path else sys.argv[0]]


def typed(words: list[str]) -> str:
    """The words as a line for the shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
