"""Training: the loss, and a generator of steps that can be resumed exactly.

All randomness of step k is derived from (seed, k) and none from what happened before, so that 10
steps, a power cut and 10 more give bit for bit what 20 steps give (on the CPU). It is drawn for the
whole batch, of which each process takes its part, so that their number does not matter either.
"""

from collections.abc import Generator
from functools import partial
from threading import Event

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tigerdiff.checks import check_model, check_output
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.diffusion import NoiseSchedule, add_noise, to_target
from tigerdiff.sampling import prediction_of
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.examples import stream
from tigerdiff.training.run import TrainStep, open_run


def diffusion_loss(
    model: nn.Module,
    schedule: NoiseSchedule,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    condition: Tensor | None = None,
) -> Tensor:
    """Measure how far the network is from what it should predict (Ho et al. 2020, equation 14).

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
    check_model("model", model)
    xt = add_noise(schedule, x0, t, eps)
    target = to_target(schedule, x0, eps, t, prediction_of(model))
    output = model(xt, t) if condition is None else model(xt, t, condition)
    check_output(output, xt)
    return F.mse_loss(output.to(target.dtype), target)


def drop_condition(condition: Tensor, share: float, u: Tensor) -> Tensor:
    """Set to -1 a share of each attribute's labels, and all labels of the same share of pictures.

    So one network learns the unconditional noise too, which guidance needs (Ho & Salimans 2022,
    algorithm 1), and to draw with only some of the attributes given. ``condition`` is int64 (B, A);
    ``u`` is uniform in [0, 1), (B, 1 + A), its first column deciding for whole pictures.
    """
    whole, each = u[:, :1] < share, u[:, 1:] < share
    return condition.masked_fill((whole | each).to(condition.device), -1)


def stratified_times(T: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw times, int64 (n,), one from each n-th part of 1 ... T, shuffled; all equally likely.

    A plain draw leaves gaps that make the loss noisier (Kingma et al. 2021, appendix I.1).
    """
    u = torch.rand((), generator=generator, dtype=torch.float64)
    i = torch.randperm(n, generator=generator)
    return (1 + torch.floor(T * (i + u) / n).long()).clamp(max=T)


def train(config: TrainConfig, stop: Event | None = None) -> Generator[TrainStep, None, None]:
    """Train a network on photos or painted tigers; a generator: the caller decides what to show.

    Writes to ``config.out``: ``config.json``, ``log.csv``, ``log.txt`` (warnings, such as each
    skipped file), ``checkpoints/step-000500``, and ``samples/step-001000.png`` drawn with the
    averaged weights. Each is on disk before the step that it belongs to is yielded. Leaving the
    loop early, or interrupting it, saves a checkpoint too, and drops a half-drawn grid.

    Runs on a GPU (CUDA, Apple's MPS) if there is one, else on the CPU, and on several of them under
    ``accelerate launch`` or ``torchrun``. Where it is fast it computes in bfloat16, on a CUDA GPU
    without it in float16 with a gradient scaler; weights, noise, schedule and loss are float32. On
    a GPU ten steps at a time are fetched, logged and yielded: one copy from the device, and one
    mean over the processes, for all ten. With dropout, torch's global generator is reseeded.

    Args:
        config: see :class:`.TrainConfig`.
        stop: when it is set, training saves a checkpoint after the steps at hand and ends.

    Yields:
        One :class:`.TrainStep` per step.

    Raises:
        ValueError: if an argument does not fit the images or the run that is resumed, or the
            checkpoint of that run is damaged.
        FileExistsError: if ``out`` holds checkpoints and ``resume`` is not set, or another process
            is training in it.
        FileNotFoundError: if there are no photos, or nothing to resume from, or ``compile`` finds
            no compiler.
        FloatingPointError: if the loss or a gradient stops being finite.
        ImportError: if accelerate is missing.
        MemoryError: if a step needs several times the memory of this machine.
        OSError: if the disk is full; the checkpoint before is kept.
    """
    with open_run(config, stop or Event()) as run:
        accelerator, device = run.accelerator, run.device
        rank, world_size = accelerator.process_index, accelerator.num_processes
        B = config.batch_size // world_size
        part = slice(rank * B, (rank + 1) * B)  # this process's part of each batch
        batches = stream(
            config, run.examples, batch_size=B, start=run.step, rank=rank, world_size=world_size,
            device=device,
        )  # fmt: skip
        if world_size > 1:
            share_dropout(run.network, part, config.batch_size)
        for k in run.steps():
            x0, condition = next(batches)
            t = stratified_times(
                config.T, config.batch_size, seeded_generator(config.seed, k, 0, 0)
            )
            own = seeded_generator(config.seed, k, 1, 0, device=device)
            eps = torch.randn(config.batch_size, *x0.shape[1:], generator=own, device=device)[part]
            if condition is not None:
                dropping = seeded_generator(config.seed, k, 1, 2)
                u = torch.rand(config.batch_size, 1 + condition.shape[1], generator=dropping)
                condition = drop_condition(condition, config.condition_dropout, u[part])
            if config.dropout:
                torch.manual_seed(seeded_generator(config.seed, k, 1, 1).initial_seed())
            run.optimizer.zero_grad()
            loss = diffusion_loss(run.model, run.schedule, x0, t[part].to(device), eps, condition)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(run.network.parameters(), config.gradient_clip)
            with run.update(k, loss, norm):  # an interrupt in here does not save half of it
                run.optimizer.step()
                run.ema.update(run.network)
            yield from run.report()


def share_dropout(network: nn.Module, part: slice, batch_size: int) -> None:
    """Let each dropout layer draw for the whole batch and keep this process's part of it.

    Each picture loses the same activations then, however many processes there are.
    """

    def drop(layer: nn.Dropout, x: Tensor) -> Tensor:
        ones = x.new_ones(batch_size, *x.shape[1:]).to(memory_format=torch.channels_last)
        return x * F.dropout(ones, layer.p, layer.training)[part]

    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.forward = partial(drop, layer)  # type: ignore[method-assign]
