"""``tigerdiff train``: its options are the arguments of `TrainConfig`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tigerdiff.commands.options import METAVARS, with_options
from tigerdiff.commands.shell import on_ending, program, resume_command, typed
from tigerdiff.training.config import LEAST, TrainConfig

if TYPE_CHECKING:
    from tigerdiff.training.run import TrainStep

NETWORK, OPTIMISATION, FILES = "Network and noise", "Optimisation", "Checkpoints and samples"
GROUPS = {
    None: ("data", "out", "image_size", "steps", "resume", "conditional", "flip", "seed", "device"),
    NETWORK: ("channels", "dropout", "prediction", "schedule"),
    OPTIMISATION: ("batch_size", "learning_rate", "warmup_steps", "ema_decay", "compile"),
    FILES: ("checkpoint_every", "keep_last", "sample_every"),
}
OWN = {"data": "DIR|painted", "out": "DIR", "prediction": "eps|x0|v", "schedule": "linear|cosine"}


@with_options(METAVARS | OWN, LEAST, GROUPS, TrainConfig)
def train_command(**options: Any) -> None:
    """Train on a folder of photos, or on painted tigers.

    \b
    tigerdiff train --data photos --steps 5000 --out runs/tigers
    tigerdiff train --data painted --image-size 64 --out runs/painted
    tigerdiff train --data painted --conditional --out runs/fur
    tigerdiff train --data photos --steps 9000 --out runs/tigers --resume
    torchrun --nproc-per-node 2 -m tigerdiff train ...         on two GPUs

    It runs on a GPU (NVIDIA's with CUDA, Apple's) if there is one, else on the
    CPU. While it runs, --out fills with checkpoints, grids of samples, log.csv
    (each step) and log.txt (each file that was skipped, and why). Ctrl-C saves
    a checkpoint and says how to resume.
    """  # noqa: D301 - the \b keeps typer from joining the lines
    import tigerdiff.training.loop  # noqa: F401 - all that is slow

    on_ending(signal.default_int_handler)
    first = os.environ.get("RANK", "0") == "0"  # of several processes only this one prints
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tigerdiff").setLevel(logging.INFO if first else logging.ERROR)
    stop, last = threading.Event(), None
    try:
        config = TrainConfig(**options)
        last = follow(config, stop, first)
    except KeyboardInterrupt:
        stop.set()
    if stop.is_set() and (last is None or last.step < options["steps"]):
        if first:
            typer.echo(how_to_resume(Path(options["out"]).expanduser()), err=True)
        raise typer.Exit(130)
    if first:
        from tigerdiff.training.checkpoints import find_checkpoint

        command = typed([*program(), "sample", "--checkpoint", str(config.out)])
        typer.echo(f"{find_checkpoint(config.out)} is ready. Draw with:\n  {command}")


def follow(config: TrainConfig, stop: threading.Event, first: bool) -> TrainStep | None:
    """Train, with a progress bar, and return the last step, or None if there was none to do.

    The first signal that asks for an end sets ``stop``, which ends training after the step at hand.
    Of several processes only the first prints.
    """
    from tqdm import tqdm

    from tigerdiff.training.loop import train

    def finish(*_: object) -> None:
        if stop.is_set():  # a closed terminal hangs up twice, by its shell and by the system
            return
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if first:  # not with print: the signal may have come while the bar was being printed
            with contextlib.suppress(OSError):
                os.write(2, b"\nStopping after this step; Ctrl-C again stops at once\n")

    bar = last = None
    try:
        with contextlib.closing(train(config, stop)) as records:
            for last in records:
                if bar is None:  # from now on there is something to save: finish the step at hand
                    on_ending(finish)
                    start = last.step - 1
                    bar = tqdm(total=config.steps, initial=start, unit="step", disable=not first)
                speed = f"{last.images_per_second:.1f} images/s"
                bar.set_postfix_str(f"loss {last.loss:.4f}, {speed}", refresh=False)
                bar.update()
    finally:
        if bar is not None:
            bar.close()
    return last


def how_to_resume(out: Path) -> str:
    """Return the sentence on what an interrupted run has saved, and the command that resumes it."""
    from tigerdiff.training.checkpoints import complete_checkpoints

    if not (there := complete_checkpoints(out)):
        return "Stopped; no checkpoint is saved: start again without --resume."
    launcher = " under the same launcher" if "RANK" in os.environ else ""
    saved = f"Stopped; {there[-1]} is saved."
    return f"{saved} Continue{launcher} with:\n  {resume_command()}"
