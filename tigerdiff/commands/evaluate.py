"""``tigerdiff evaluate``: how good pictures of tigers are."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from tigerdiff.commands.options import CHECKPOINT, FEWEST, SAMPLERS, Device, path
from tigerdiff.commands.shell import typed

logger = logging.getLogger(__name__)


def evaluate_command(
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=path, help="A folder of pictures to judge."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help=f"Or judge what a network draws: {CHECKPOINT}"),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(metavar=SAMPLERS, show_default="ddim", help="For --checkpoint: how to draw."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, show_default="50", help="For --checkpoint: calls of the network."),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            min=FEWEST,
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
        Path,
        typer.Option(
            metavar="FILE", parser=path, help="The results as JSON, with how they were had."
        ),
    ] = Path("evaluation.json"),
    device: Device = None,  # type: ignore[assignment]
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
    how = (sampler or "ddim", steps or 50)
    measure_and_keep(images, checkpoint, how, n, seed, reference, out, device)


def measure_and_keep(
    images: Path | None,
    checkpoint: str | None,
    how: tuple[str, int],
    n: int | None,
    seed: int,
    reference: str,
    out: Path,
    device: str | None,
) -> None:
    """Gather the pictures, measure them, write the results and print them."""
    from tigerdiff.commands import pictures, results
    from tigerdiff.devices import find_device
    from tigerdiff.pretrained.load import find_pretrained, read_card

    command, where = typed(["tigerdiff", *sys.argv[1:]]), find_device(device)
    painter = str(where) if where.type == "cuda" else "cpu"
    folder = None if checkpoint is None else find_pretrained(checkpoint)
    pictures.check_reference(reference, folder)  # before the work, not after it
    if folder is not None and reference == "painted" and read_card(folder).get("data") == "photos":
        logger.warning("%s was trained on photos: compare with some, --reference DIR", checkpoint)
    results.check_out(out, command)
    training = None
    if folder is not None:
        n = n or 2048
        training = pictures.training_pictures(folder, n, painter)
        shown = pictures.drawn_pictures(folder, *how, n, seed, str(where))
    else:
        assert images is not None
        shown = pictures.folder_pictures(images, n, seed)
    real, floor = pictures.reference_pictures(reference, shown.images, seed, painter)
    if folder is not None and training is None:
        training = real._replace(source=f"{real.source}, as no training pictures were found")
    if n := pictures.shared(shown, real):
        logger.warning("%d of the pictures are in the reference too: too small a distance", n)
    found = results.measure(shown, real, floor, training)
    try:
        results.write(results.provenance(command, seed) | found, out)
    finally:  # what took an hour is shown also where it cannot be kept
        typer.echo(results.table(found))
    typer.echo(f"\n{out}: these, the seeds and the versions")
