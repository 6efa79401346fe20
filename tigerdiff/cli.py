"""The command line: ``tigerdiff render``, ``train``, ``sample`` and ``evaluate``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from tigerdiff.commands.options import (
    CHECKPOINT,
    evaluate_command,
    go_on_command,
    program,
    render_command,
    typed,
)
from tigerdiff.drawing import sample as draw
from tigerdiff.pretrained.load import load_pretrained
from tigerdiff.sampling import SAMPLERS
from tigerdiff.training import checkpoints as runs
from tigerdiff.training import loop as training
from tigerdiff.training.config import TrainConfig

NETWORK, OPTIMISATION, FILES = "Network and noise", "Optimisation", "Checkpoints and samples"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def main() -> None:
    """Run the command line. An error of the user's is one sentence on stderr and exit code 1."""
    try:
        app(prog_name="tigerdiff")
    except torch.OutOfMemoryError:
        _fail("the GPU is out of memory: lower --batch-size or --channels (or -n when sampling)")
    except (ArithmeticError, ImportError, OSError, ValueError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        ours = str(frame.f_globals.get("__name__")).startswith("tigerdiff.")
        if not (ours or isinstance(error, OSError)):
            raise  # a defect, and whoever mends it needs the traceback
        _fail(str(error))


def _fail(sentence: str) -> None:
    typer.echo(f"tigerdiff: {sentence}", err=True)
    raise SystemExit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tigerdiff {version('tigerdiff')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Diffusion models on tigers: paint or photograph them, train, draw new ones, judge them."""


app.command("render")(render_command)


@app.command("train")
def train_command(
    data: Annotated[
        str,
        typer.Option(
            metavar="DIR|painted",
            help="Folder of photos, at any depth, or the word painted: tigers without end.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The run's own folder, such as runs/tigers.")
    ],
    image_size: Annotated[
        int, typer.Option(min=8, help="Height and width of the images in pixels.")
    ] = TrainConfig.image_size,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of training, counted from the run's start.")
    ] = TrainConfig.steps,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")
    ] = TrainConfig.resume,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same run.")
    ] = TrainConfig.seed,
    channels: Annotated[
        int,
        typer.Option(
            min=8, rich_help_panel=NETWORK, help="Channels of the first level, a multiple of 8."
        ),
    ] = TrainConfig.channels,
    dropout: Annotated[
        float,
        typer.Option(
            min=0, max=1, rich_help_panel=NETWORK, help="Share of activations dropped in training."
        ),
    ] = TrainConfig.dropout,
    prediction: Annotated[
        str,
        typer.Option(
            metavar="eps|x0|v", rich_help_panel=NETWORK, help="What the network predicts."
        ),
    ] = TrainConfig.prediction,
    schedule: Annotated[
        str,
        typer.Option(
            metavar="linear|cosine", rich_help_panel=NETWORK, help="How noise grows with time."
        ),
    ] = TrainConfig.schedule,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, rich_help_panel=OPTIMISATION, help="Images per step, over all processes."
        ),
    ] = TrainConfig.batch_size,
    learning_rate: Annotated[
        float, typer.Option(rich_help_panel=OPTIMISATION, help="Of AdamW, after the warm-up.")
    ] = TrainConfig.learning_rate,
    warmup_steps: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=OPTIMISATION, help="Steps until the learning rate is reached."
        ),
    ] = TrainConfig.warmup_steps,
    ema_decay: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=OPTIMISATION,
            help="Decay of the averaged weights that samples are drawn with.",
        ),
    ] = TrainConfig.ema_decay,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=OPTIMISATION,
            help="Compile the network first: a minute or two, then faster steps.",
        ),
    ] = TrainConfig.compile,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, rich_help_panel=FILES, help="Steps between two checkpoints.")
    ] = TrainConfig.checkpoint_every,
    keep_last: Annotated[
        int, typer.Option(min=1, rich_help_panel=FILES, help="Checkpoints that are kept.")
    ] = TrainConfig.keep_last,
    sample_every: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=FILES, help="Steps between two grids of 16 samples; 0: none."
        ),
    ] = TrainConfig.sample_every,
) -> None:
    """Train on a folder of photos, or on painted tigers.

    \b
    tigerdiff train --data photos --steps 5000 --out runs/tigers
    tigerdiff train --data painted --image-size 64 --out runs/painted
    tigerdiff train --data photos --steps 9000 --out runs/tigers --resume
    torchrun --nproc-per-node 2 -m tigerdiff train ...         on two GPUs

    It runs on an NVIDIA GPU (CUDA) if there is one, else on the CPU. While it
    runs, --out fills with checkpoints, grids of samples, log.csv (each step)
    and log.txt (each file that was skipped, and why). Ctrl-C saves a
    checkpoint and says how to go on.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    config = TrainConfig(**locals())  # the options are its arguments; must stay the first line
    first = os.environ.get("RANK", "0") == "0"  # of several processes one speaks
    logging.basicConfig(format="%(message)s", level=logging.WARNING if first else logging.ERROR)
    stop = threading.Event()
    bar = last = None

    def finish(*_: object) -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        if first:  # not with print: the signal may have come while the bar was being printed
            os.write(2, b"\nStopping after this step; Ctrl-C again stops at once\n")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.closing(training.train(config, stop)) as records:
            for last in records:
                if bar is None:  # from now on there is something to save: finish the step at hand
                    for number in (signal.SIGINT, signal.SIGTERM):
                        signal.signal(number, finish)
                    bar = tqdm(total=steps, initial=last.step - 1, unit="step", disable=not first)
                speed = f"{last.images_per_second:.1f} images/s"
                bar.set_postfix_str(f"loss {last.loss:.4f}, {speed}", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        stop.set()
    finally:
        if bar is not None:
            bar.close()
    if stop.is_set() and (last is None or last.step < steps):
        if first:
            typer.echo(_how_to_go_on(out), err=True)
        raise typer.Exit(130)
    if first:
        newest = runs.find_checkpoint(out)
        command = typed([*program(), "sample", "--checkpoint", str(out)])
        typer.echo(f"{newest} is ready. Draw with:\n  {command}")


def _how_to_go_on(out: Path) -> str:
    checkpoints = runs.complete_checkpoints(out)
    if not checkpoints:
        return "Stopped before the first step: there was nothing to save."
    launcher = " under the same launcher" if "RANK" in os.environ else ""
    return f"Stopped; {checkpoints[-1]} is saved. Go on{launcher} with:\n  {go_on_command()}"


@app.command("sample")
def sample_command(
    checkpoint: Annotated[str, typer.Option(metavar="NAME|DIR", help=f"The network: {CHECKPOINT}")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The picture to write, such as grid.png.")
    ] = Path("grid.png"),
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images.")] = 16,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="|".join(SAMPLERS),
            help="How to draw: ddpm is the classic one, the others need few steps.",
        ),
    ] = "ddim",
    steps: Annotated[
        int, typer.Option(min=1, help="Calls of the network, at most its T (1000).")
    ] = 50,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
) -> None:
    """Draw images with a trained network, as one picture.

    \b
    tigerdiff sample --checkpoint ddpm-tiger-64 --steps 25 --out grid.png
    tigerdiff sample --checkpoint runs/tigers -n 16 --seed 1 --out grid.png

    It runs on an NVIDIA GPU (CUDA) if there is one, else on the CPU.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    runs.check_picture_name(out)  # before the work, not after it
    model, schedule = load_pretrained(checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    size: Any = model.config["size"]
    images = draw(model, schedule, n, size=size, sampler=sampler, steps=steps, seed=seed)
    runs.save_grid(images, out)
    typer.echo(f"{out}: {n} images of {size} x {size} pixels")


app.command("evaluate")(evaluate_command)
