"""A run: what it starts from, what it writes and when, and how it ends.

`train` in `loop` says what a step is; everything else about a run is here.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from tigerdiff.checks import check_kind
from tigerdiff.data.tensors import to_uint8
from tigerdiff.diffusion import make_schedule
from tigerdiff.sampling import ddim
from tigerdiff.training import checkpoints
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.ema import EMA
from tigerdiff.training.examples import Examples, load_examples
from tigerdiff.training.folder import RunLog, advice_on_divergence, locked, starting_point
from tigerdiff.training.machine import check_compiler, check_room, make_accelerator
from tigerdiff.training.stored import write_json
from tigerdiff.unet import UNet

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


class TrainStep(NamedTuple):
    """One step of training: its number from 1, mean loss, speed, and learning rate."""

    step: int
    loss: float
    images_per_second: float
    learning_rate: float


@contextmanager
def open_run(config: TrainConfig, stop: Event) -> Iterator[Run]:
    """Prepare a run, keep its folder for it, and save it if it is left early or interrupted.

    Everything that can be wrong is checked before anything that an earlier run has left in
    ``config.out`` is changed.
    """
    check_kind("config", config, TrainConfig)
    accelerator = make_accelerator(config.device)
    if config.batch_size % accelerator.num_processes:
        need = f"batch_size must be divisible by the {accelerator.num_processes} processes"
        raise ValueError(f"{need} (got {config.batch_size})")
    make_schedule(config.schedule, config.T)  # refuse now what cannot be trained with
    if config.compile:
        check_compiler()
    network = config.network()
    starting_point(config, network)
    out = Path(config.out)
    with ExitStack() as at_end:
        at_end.callback(accelerator.end_training)
        log = None
        if accelerator.is_main_process:  # the one that writes
            at_end.enter_context(locked(out))
            log = at_end.enter_context(closing(RunLog(out)))
            check_room(config, network, accelerator)
        with accelerator.main_process_first():  # the others find the photos in the cache
            examples = load_examples(config, progress=accelerator.is_main_process)
        run = Run(config, accelerator, stop, network, examples, log)
        try:
            yield run
        except (GeneratorExit, KeyboardInterrupt):
            run.save_interrupted()
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(f"the disk of {out} is full: {checkpoints.what_is_kept(out)}") from error


class Run:
    """The state of a run: network, average and optimiser, steps done, measured and saved.

    It begins at the end of the checkpoint that it resumes from. ``model`` is the network as
    training calls it: compiled, in mixed precision, over all processes. ``log`` is None for the
    processes that do not write.
    """

    def __init__(
        self, config: TrainConfig, accelerator: Accelerator, stop: Event, network: UNet,
        examples: Examples, log: RunLog | None,
    ) -> None:  # fmt: skip
        self.config, self.accelerator, self.stop, self.log = config, accelerator, stop, log
        self.device, self.out = accelerator.device, Path(config.out)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.schedule = make_schedule(config.schedule, config.T).to(self.device)
        self.ema = EMA(network, config.ema_decay)
        self.optimizer = accelerator.prepare(adamw(network, config.learning_rate))
        self.examples, self.content = examples, examples.content()
        self.stopped, self.whole = False, True  # not whole: while an update is half done
        self.measured: list[Tensor] = []  # loss and gradient norm of the steps not yet logged
        checkpoint, self.step = starting_point(config, network)  # none may have come in between
        self.saved = self.step
        if checkpoint:
            self.restore(checkpoint)
        if log:  # all is in order: only now change what an earlier run has left
            log.begin(self.step)
            write_json(config.to_json(), self.out / "config.json")
        if config.compile:
            network.compile()
        self.model = accelerator.prepare(network)
        if examples.images is not None:  # as bytes they fit on the device
            self.examples = examples._replace(images=examples.images.to(self.device))

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint; warn if the run was trained on other data until then."""
        state = checkpoints.restore(checkpoint, self.network, self.ema, self.optimizer)
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        then, now = state["images"], self.seen(state["step"])
        content = self.content or ""
        if then != now:
            logger.warning("data holds %d images now and held %d before", now, then)
        elif (before := state.get("content") or content) != content:
            same = before.partition(" ")[0] == content.partition(" ")[0]
            how = "with other labels" if same else "other ones"
            logger.warning("data holds %d images as before, but %s", now, how)

    def seen(self, step: int) -> int:
        """Return how many images are trained on in so many steps; painted ones are always new."""
        images = self.examples.images
        return step * self.config.batch_size if images is None else len(images)

    def steps(self) -> Iterator[int]:
        """Yield the number of each step that is to be done, until the end or a stop."""
        while self.step < self.config.steps and not self.stopped:
            if not self.measured:
                self.clock = time.perf_counter()
            yield self.step + 1

    @contextmanager
    def update(self, k: int, loss: Tensor, norm: Tensor) -> Iterator[None]:
        """Count step k as done when the block, its update of all the weights, is over."""
        self.whole = False
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate_at(k)
        yield
        self.measured.append(torch.stack([loss.detach(), norm]))
        self.step, self.whole = k, True

    def report(self) -> list[TrainStep]:
        """Write what is due after this step; return the steps since the last report, if any is.

        On the CPU each step is reported, on a GPU every tenth: one wait for ten losses.
        """
        config = self.config
        every = 1 if self.device.type == "cpu" else 10
        periods = (every, config.checkpoint_every, config.sample_every)
        if not any(is_due(period, self.step, config.steps) for period in periods):
            return []
        records = self.record(self.accelerator.reduce(torch.stack(self.measured), "mean"))
        if is_due(config.checkpoint_every, self.step, config.steps):
            self.save()
        if self.log and is_due(config.sample_every, self.step, config.steps):
            self.draw_grid()
        # All processes learn here whether one of them is to stop.
        wish = torch.tensor(float(self.stop.is_set()), device=self.device)
        self.stopped = self.accelerator.reduce(wish, "sum").item() > 0
        if self.stopped:
            self.save()
        return records

    def record(self, measured: Tensor) -> list[TrainStep]:
        """Check and log the steps since the last report, whose losses and norms are (n, 2)."""
        rows = measured.tolist()  # waits for the device
        seconds, first = time.perf_counter() - self.clock, self.step + 1 - len(rows)
        speed, records = len(rows) * self.config.batch_size / seconds, []
        scaler = self.accelerator.scaler
        # In float16 a gradient may overflow: its step is skipped, and the next has a lower scale.
        may_overflow = scaler is not None and scaler.get_scale() >= 1
        for k, (loss, norm) in enumerate(rows, first):
            if not (math.isfinite(loss) and (math.isfinite(norm) or may_overflow)):
                losses = {first + i: row[0] for i, row in enumerate(rows[: k - first + 1])}
                raise FloatingPointError(advice_on_divergence(self.config, losses))
            records.append(TrainStep(k, loss, speed, self.config.learning_rate_at(k)))
        if self.log:
            self.log.write(records, seconds)
        self.measured.clear()
        return records

    def draw_grid(self) -> None:
        """Write 16 samples as one picture, or nothing if ``stop`` is set before they are done."""
        noise = torch.Generator().manual_seed(self.config.seed)
        size = self.config.image_size
        x = torch.randn(16, 3, size, size, generator=noise).to(self.device)
        steps = ddim(self.ema.model, self.schedule, x, steps=min(50, self.config.T))
        while not self.stop.is_set():
            if (drawn := next(steps)).t == 0:
                if not drawn.xt.isfinite().all():
                    advice = advice_on_divergence(self.config, {self.step + 1: math.inf})
                    raise FloatingPointError(advice)
                path = self.out / "samples" / f"step-{self.step:06d}.png"
                checkpoints.save_grid(to_uint8(drawn.xt).cpu(), path)
                break

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.log and self.step > self.saved:
            scaler = self.accelerator.scaler
            checkpoints.save_checkpoint(
                self.config.out, self.network, self.ema, self.optimizer, step=self.step,
                config=self.config.to_json(), images=self.seen(self.step), content=self.content,
                scaler=scaler.state_dict() if scaler else None, keep_last=self.config.keep_last,
            )  # fmt: skip
        self.saved = self.step

    def save_interrupted(self) -> None:
        """Save what is whole and finite; the losses are this process's own, others may be gone."""
        finite = all(bool(weight.isfinite().all()) for weight in self.network.parameters())
        if self.step > self.saved and self.whole and finite:
            if self.measured:
                self.record(torch.stack(self.measured))
            self.save()


def adamw(network: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """Return the optimiser of :func:`.train`."""
    return torch.optim.AdamW(network.parameters(), learning_rate, (0.9, 0.99), fused=True)


def is_due(every: int, step: int, last: int) -> bool:
    """Say whether something is due at a step that comes every so many, and at the last."""
    return every > 0 and (step % every == 0 or step == last)
