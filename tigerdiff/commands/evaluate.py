"""``tigerdiff evaluate``: how good pictures of tigers are."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import typer

from tigerdiff.commands.options import FEWEST, LEAST, METAVARS, with_options
from tigerdiff.commands.shell import typed

logger = logging.getLogger(__name__)


@with_options(METAVARS | {"images": "DIR", "reference": "painted|DIR"}, LEAST | {"n": FEWEST})
def evaluate_command(
    images: Path | None = None,
    checkpoint: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    n: int | None = None,
    seed: int = 0,
    reference: str = "painted",
    out: Path = Path("evaluation.json"),
    device: str | None = None,
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

    For a run's folder the training pictures are found again, and so they are
    for any model whose card.json says which painted tigers it was trained on.

    Args:
        images: a folder of pictures to judge.
        checkpoint: the network whose drawings to judge instead: a shipped model (ddpm-tiger-64), a
            run's folder (its newest checkpoint), an exported folder, or owner/name on the Hugging
            Face Hub. What exists as a folder is taken for that.
        sampler: for ``checkpoint``: how to draw; None: ddim.
        steps: for ``checkpoint``: calls of the network; None: 50.
        n: number of pictures; None: all of ``images``, 2048 of a ``checkpoint``.
        seed: of the noise that pictures are drawn from; with ``images``, of the choice of -n.
        reference: what to compare with: new painted tigers, or a folder.
        out: the results as JSON, with the command, the seeds and the versions.
        device: where to compute; None: a GPU if there is one.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    if (images is None) == (checkpoint is None):
        raise ValueError("evaluate needs either --images or --checkpoint, and not both")
    if images is not None and (sampler or steps):
        raise ValueError("--sampler and --steps go with --checkpoint, not with --images")
    from tigerdiff.checks import check_path
    from tigerdiff.commands import pictures, results
    from tigerdiff.devices import find_device
    from tigerdiff.pretrained.load import find_pretrained, read_card
    from tigerdiff.training import stored

    signal.signal(signal.SIGINT, signal.default_int_handler)
    command, where = typed(["tigerdiff", *sys.argv[1:]]), find_device(device)
    painter = str(where) if where.type == "cuda" else "cpu"
    if checkpoint is not None:
        check_path("--checkpoint", checkpoint, or_else=" or owner/name on the Hub")
    folder = None if checkpoint is None else find_pretrained(checkpoint)
    pictures.check_reference(reference, folder)  # before the work, not after it
    results.check_out(out, command)
    if images is not None:
        shown, training = pictures.folder_pictures(images, n, seed), None
        if reference == "painted" and shown.tigers is None:
            logger.warning("photos in %s? compare them with photos, --reference DIR", images)
    else:
        assert folder is not None
        if reference == "painted" and read_card(folder).get("data") == "photos":
            logger.warning("%s has learned photos: compare with some, --reference DIR", checkpoint)
        training = pictures.training_pictures(folder, n or 2048, painter)
        how = ("ddim" if sampler is None else sampler, steps or 50, n or 2048, seed, str(where))
        shown = pictures.drawn_pictures(folder, *how)
    real, floor = pictures.reference_pictures(reference, shown.images, seed, painter)
    if folder is not None and training is None:
        training = real.distinct()
        training = training._replace(source=f"{real.source}, as no training pictures were found")
    if same := pictures.shared(shown, real):
        logger.warning(
            "%d of the pictures are in the reference too, so the distances come out too small", same
        )
    found = results.measure(shown, real, floor, training)
    try:
        stored.write_json(results.provenance(command, seed, where) | found, out)
    finally:  # what took an hour is shown also where it cannot be kept
        typer.echo(results.table(found))
    typer.echo(f"\n{out}: these, the seeds and the versions")
