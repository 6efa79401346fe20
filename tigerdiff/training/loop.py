"""Training: a generator of steps, with checkpoints that a killed run goes on from exactly.

All randomness of step k is derived from (seed, k, rank) and none from what happened before, so that
10 steps, a power cut and 10 more give bit for bit what 20 steps give (on the CPU).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tigerdiff.data.batches import batches
from tigerdiff.data.painted import painted_batches
from tigerdiff.data.tensors import seeded_generator, to_uint8
from tigerdiff.devices import has_bfloat16
from tigerdiff.diffusion import NoiseSchedule, add_noise, make_schedule, to_target
from tigerdiff.sampling import ddim, prediction_of
from tigerdiff.training import checkpoints as runs
from tigerdiff.training.checkpoints import load_checkpoint as load_checkpoint
from tigerdiff.training.checkpoints import save_checkpoint
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.ema import EMA
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


def diffusion_loss(
    model: nn.Module,
    schedule: NoiseSchedule,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    condition: Tensor | None = None,
) -> Tensor:
    """How far the network is from what it should predict (Ho et al. 2020, equation 14).

    Mean of ``(model(xt, t) - target) ** 2``, the target being what ``model.prediction`` says: eps
    (the default), x0, or ``v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0`` (Salimans & Ho
    2022, section 4). Noise is added and the mean is taken in float32, also under autocast.

    Args:
        model: network ``(xt, t) -> output``.
        schedule: the noise schedule.
        x0: clean images (B, 3, H, W), float32 in [-1, 1].
        t: times (B,), int64, 1 ... T.
        eps: standard normal noise, shape and dtype of x0.
        condition: for a conditional network, int64 (B, number of attributes), -1 where open.

    Returns:
        A scalar, float32; about 1 for a network that answers 0 where eps is to be predicted.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype or range.
    """
    xt = add_noise(schedule, x0, t, eps)
    target = to_target(schedule, x0, eps, t, prediction_of(model))
    output = model(xt, t) if condition is None else model(xt, t, condition)
    return F.mse_loss(output.float(), target)


def drop_condition(condition: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Leave open a share of the labels of each attribute, and a share of the pictures altogether.

    So one network learns the unconditional noise too, which guidance needs (Ho & Salimans 2022,
    algorithm 1), and to draw with only some of the attributes given.

    Args:
        condition: int64 (B, number of attributes).
        share: of the labels that become -1, 0 ... 1.
        generator: on the CPU.
    """
    B, A = condition.shape
    each = torch.rand(B, A, generator=generator) < share
    whole = torch.rand(B, 1, generator=generator) < share
    return condition.masked_fill((each | whole).to(condition.device), -1)


def stratified_times(T: int, n: int, generator: torch.Generator) -> Tensor:
    """Random times, one from each n-th part of 1 ... T, shuffled; each time equally likely.

    A plain draw leaves gaps that make the loss noisier (Kingma et al. 2021, appendix I.1).

    Returns:
        int64 (n,).
    """
    u = torch.rand((), generator=generator, dtype=torch.float64)
    i = torch.randperm(n, generator=generator)
    return (1 + torch.floor(T * (i + u) / n).long()).clamp(max=T)


def train(config: TrainConfig, stop: Event | None = None) -> Generator[TrainStep, None, None]:
    """Train a network on photos or painted tigers; a generator: the caller decides what to show.

    Writes to ``config.out``: ``config.json``, ``log.csv``, ``log.txt`` (warnings, such as each
    skipped file), ``checkpoints/step-000500``, and ``samples/step-001000.png`` drawn with the
    averaged weights. Each is on disk before the step that it belongs to is yielded. Leaving the
    loop early, or interrupting it, saves a checkpoint too, and gives up a grid half drawn.

    Runs on an NVIDIA GPU (CUDA) if there is one, else on the CPU, and on several of them under
    ``accelerate launch`` or ``torchrun``; in bfloat16 where the GPU or the CPU (AMX) is fast in it,
    with weights, noise, schedule and loss in float32. On a GPU ten steps at
    a time are fetched, logged and yielded: one copy from the device, and one mean over the
    processes, for all ten. With dropout, torch's global generator is reseeded.

    Args:
        config: see :class:`TrainConfig`.
        stop: when it is set, training saves a checkpoint after the steps at hand and ends.

    Yields:
        One :class:`TrainStep` per step.

    Raises:
        ValueError: if an argument does not fit the images or the run that is resumed, or the
            checkpoint of that run is damaged.
        FileExistsError: if ``out`` holds checkpoints and ``resume`` is not set.
        FileNotFoundError: if there are no photos, or nothing to resume from.
        FloatingPointError: if the loss or a gradient stops being finite.
        ImportError: if accelerate is missing.
    """
    accelerator, stop = _accelerator(), stop or Event()
    device, rank = accelerator.device, accelerator.process_index
    world_size = accelerator.num_processes
    if config.batch_size % world_size:
        raise ValueError(
            f"batch_size must be divisible by the {world_size} processes (got {config.batch_size})"
        )
    out, B = Path(config.out), config.batch_size // world_size
    network = config.network()
    checkpoint, start = _starting_point(config, network)
    network = network.to(device).to(memory_format=torch.channels_last)
    schedule = make_schedule(config.schedule, config.T).to(device)
    with contextlib.ExitStack() as at_end:
        at_end.callback(accelerator.end_training)
        log = None
        if accelerator.is_main_process:  # the one that writes
            log = at_end.enter_context(contextlib.closing(runs.RunLog(out)))
        with accelerator.main_process_first():  # the others find the photos in the cache
            images = config.images(progress=accelerator.is_main_process)

        def seen(step: int) -> int:
            """How many images are trained on in so many steps; painted ones are always new."""
            return step * config.batch_size if images is None else len(images)

        ema = EMA(network, config.ema_decay)
        optimizer = adamw(network, config.learning_rate)
        if checkpoint:
            then = runs.restore(checkpoint, network, ema, optimizer)["images"]
            if then != (now := seen(start)):
                logger.warning("data holds %d images now and held %d before", now, then)
        if log:  # all is in order: only now change what an earlier run has left
            log.begin(start)
            (out / "config.json").write_text(json.dumps(config.to_json(), indent=2) + "\n")
        if config.compile:
            network.compile()
        model = accelerator.prepare(network)
        mine = {"start": start, "rank": rank, "world_size": world_size, "device": device}
        if images is None:
            x0s = painted_batches(config.image_size, B, seed=config.seed, **mine)
        else:  # as bytes they fit on the device, and need not travel at each step
            x0s = batches(images.to(device), B, labels=config.labels, seed=config.seed, **mine)

        step = saved = logged = start
        stopped, whole = False, True  # not whole: while an update is half done

        def gradient(k: int) -> Tensor:
            """Gradients of step k; returns the loss and their norm, (2,), still on the device."""
            x0, condition = next(x0s), None
            if config.classes:
                x0, condition = x0
            shared = seeded_generator(config.seed, k, 0, 0)
            t = stratified_times(config.T, config.batch_size, shared)[rank * B : (rank + 1) * B]
            own = seeded_generator(config.seed, k, 1 + rank, 0, device=device)
            eps = torch.randn(x0.shape, generator=own, device=device)
            if config.dropout:
                torch.manual_seed(seeded_generator(config.seed, k, 1 + rank, 1).initial_seed())
            optimizer.zero_grad()
            if condition is not None:
                dropping = seeded_generator(config.seed, k, 1 + rank, 2)
                condition = drop_condition(condition, config.condition_dropout, dropping)
            loss = diffusion_loss(model, schedule, x0, t.to(device), eps, condition)
            accelerator.backward(loss)
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            return torch.stack([loss.detach(), norm])

        def save() -> None:
            nonlocal saved
            if log:
                save_checkpoint(
                    out, network, ema, optimizer, step=step, config=config.to_json(),
                    images=seen(step), keep_last=config.keep_last,
                )  # fmt: skip
            saved = step

        def record(measured: Tensor) -> list[TrainStep]:
            """Check and log the steps from logged + 1, whose losses and norms are (n, 2)."""
            rows = measured.tolist()  # waits for the device
            seconds = time.perf_counter() - clock
            speed, records = len(rows) * config.batch_size / seconds, []
            for k, (loss, norm) in enumerate(rows, logged + 1):
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise FloatingPointError(_diverged(config, k))
                records.append(TrainStep(k, loss, speed, config.learning_rate_at(k)))
            if log:
                log.write(records, seconds)
            return records

        try:
            while step < config.steps and not stopped:
                clock, measured = time.perf_counter(), []
                for k in range(step + 1, _end_of_stretch(config, step, device) + 1):
                    optimizer.param_groups[0]["lr"] = config.learning_rate_at(k)
                    measured.append(gradient(k))
                    whole = False
                    optimizer.step()
                    ema.update(network)
                    step, whole = k, True
                records = record(accelerator.reduce(torch.stack(measured), "mean"))
                logged = step
                if _due(config.checkpoint_every, step, config.steps):
                    save()
                if log and _due(config.sample_every, step, config.steps):
                    path = out / "samples" / f"step-{step:06d}.png"
                    _draw_grid(config, ema.model, schedule, path, stop)
                # All processes learn here whether one of them is to stop.
                wish = torch.tensor(float(stop.is_set()), device=device)
                stopped = accelerator.reduce(wish, "sum").item() > 0
                if stopped and step > saved:
                    save()
                yield from records
        except (GeneratorExit, KeyboardInterrupt):
            finite = all(bool(weight.isfinite().all()) for weight in network.parameters())
            if step > saved and whole and finite:
                if step > logged:  # the losses of this process alone, as the others may be gone
                    record(torch.stack(measured[: step - logged]))
                save()
            raise


def adamw(network: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """The optimiser of :func:`train`."""
    return torch.optim.AdamW(network.parameters(), learning_rate, (0.9, 0.99), fused=True)


def _accelerator() -> Accelerator:
    """Device, precision and number of processes: from the machine and the launcher."""
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError:
        raise ImportError("training needs accelerate: pip install 'tigerdiff[train]'") from None
    cuda, precision = torch.cuda.is_available(), "bf16" if has_bfloat16() else "no"
    patience = [InitProcessGroupKwargs(timeout=timedelta(hours=2))]  # while one decodes the photos
    return Accelerator(cpu=not cuda, mixed_precision=precision, kwargs_handlers=patience)


def _starting_point(config: TrainConfig, network: UNet) -> tuple[Path | None, int]:
    """The checkpoint to go on from and its step, or (None, 0)."""
    if not config.resume:
        if there := runs.complete_checkpoints(config.out):
            raise FileExistsError(
                f"{config.out} holds a run already ({there[-1].name}): go on with --resume "
                "(resume=True), or choose another out"
            )
        return None, 0
    folder = runs.find_checkpoint(config.out)
    state = runs.read_state(folder)
    config.check_same_run(network, state)
    return folder, state["step"]


def _draw_grid(
    config: TrainConfig, model: nn.Module, schedule: NoiseSchedule, path: Path, stop: Event
) -> None:
    """Write 16 samples as one picture, or nothing if ``stop`` is set before they are done."""
    noise = torch.Generator().manual_seed(config.seed)
    x = torch.randn(16, 3, config.image_size, config.image_size, generator=noise)
    walk = ddim(model, schedule, x.to(schedule.alpha_bar.device), steps=min(50, config.T))
    while not stop.is_set():
        if (drawn := next(walk)).t == 0:
            runs.save_grid(to_uint8(drawn.xt).cpu(), path)
            break


def _due(every: int, step: int, last: int) -> bool:
    return every > 0 and (step % every == 0 or step == last)


def _end_of_stretch(config: TrainConfig, step: int, device: torch.device) -> int:
    """The step after which the losses are fetched next: each on the CPU, each tenth on a GPU."""
    periods = [1 if device.type == "cpu" else 10, config.checkpoint_every, config.sample_every]
    return min(config.steps, *(step - step % n + n for n in periods if n))


def _diverged(config: TrainConfig, step: int) -> str:
    there = runs.complete_checkpoints(config.out)
    return (
        f"the loss or its gradient is no longer finite at step {step}: start again with a lower "
        f"learning_rate than {config.learning_rate:g}; the last good checkpoint is "
        f"{there[-1] if there else 'none, it came before the first'}"
    )
