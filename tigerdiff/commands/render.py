"""``tigerdiff render``: painted tigers as files."""

from __future__ import annotations

import signal
from pathlib import Path

import typer

from tigerdiff.commands.options import with_options
from tigerdiff.commands.shell import on_ending, resume_command


@with_options({"out": "DIR"})
def render_command(
    out: Path = Path("tigers"), n: int = 64, size: int = 128, seed: int = 0, resume: bool = False
) -> None:
    """Paint tigers into a folder, with captions that are true.

    \b
    tigerdiff render -n 64 --size 128 --out tigers
    tigerdiff train --data tigers --out runs/tigers

    captions.csv (file_name and text) and metadata.csv, which has every attribute
    of every tiger too, are written beside the pictures. Hugging Face datasets loads
    the folder: load_dataset("imagefolder", data_dir="tigers").

    Args:
        out: the folder to fill, new or empty.
        n: number of tigers.
        size: height and width of the pictures in pixels, 16 to 1024.
        seed: the same seed gives the same tigers.
        resume: continue where it was interrupted, or add more tigers.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    from tigerdiff.data.painted import read_tigers, render_folder

    on_ending(signal.default_int_handler)
    try:
        render_folder(out, n, size, seed, resume=resume)
    except KeyboardInterrupt:
        there = len(read_tigers(out))
        typer.echo(f"\nStopped; {there} of {n} tigers are in {out}. Continue with:", err=True)
        typer.echo(f"  {resume_command()}", err=True)
        raise typer.Exit(130) from None
    there = len(read_tigers(out))
    typer.echo(f"{out}: {there} tigers of {size} x {size} pixels, captions.csv and metadata.csv")
