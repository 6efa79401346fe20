"""Part "quality": seconds of training until a library draws tigers of a stated quality.

All see the same painted tigers, for the same seconds, on the same machine, in turns. Each has its
own loss, noise schedule, optimiser, learning rate, batch and average of weights: ours the defaults
of ``TrainConfig`` through ``train``, the peers what their documentation says (see trainers.py).

In favour of the peers: their networks are cut down to our parameters and FLOPs, while the
documented ones are many times larger; they train in bfloat16 where it is faster, as their
documentation trains in float16 on a GPU; their images come from memory, their losses are not
fetched or logged, and the end of diffusers' cosine is fitted to the seconds there are.
"""

import math
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.networks import DIFFUSERS, LIBRARIES, LUCIDRAINS, OURS, network, our_config
from bench.samplers import draw, our_draw
from bench.timing import autocast, synchronize
from bench.trainers import Trainer, diffusers_trainer, lucidrains_trainer
from tigerdiff import batches, load_checkpoint, procedural_tigers, train
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.metrics.distances import frechet, image_features, mean_mmd

SETTINGS = {
    OURS: "TrainConfig defaults",
    DIFFUSERS: "train_unconditional.py: eps, linear, AdamW 1e-4, 500 steps of warm-up "
    "(or half of all), cosine, "
    "EMA 0.9999 with power 0.75, batch 16",
    LUCIDRAINS: "README: pred_v, sigmoid, Adam 8e-5, EMA 0.995 each 10 steps, 2 batches of 32",
}
BATCHES = {DIFFUSERS: 16, LUCIDRAINS: 64}

Moment = tuple[float, int, Tensor]  # seconds of training, steps, pictures drawn then


def run(options: Namespace) -> dict:
    """Train all in turns, draw at geometric times, and find when each threshold is crossed."""
    size, n, seed = options.quality_size, options.drawn, options.seed
    pool, _ = procedural_tigers(options.pool, size, seed)
    truth, _ = procedural_tigers(2 * n, size, seed + 1_000_000)
    known, others = image_features(truth).split(n)
    times = [options.budget / 2**k for k in reversed(range(options.points))]
    curves: dict[str, list[dict]] = {library: [] for library in LIBRARIES}
    running = {
        library: ours(pool, times, options)
        if library == OURS
        else peer(library, pool, times, options)
        for library in LIBRARIES
    }
    for _ in times:
        for library, learner in running.items():
            seconds, steps, images = next(learner)
            features = image_features(images)
            kernel = mean_mmd(features, known, seed=seed)
            point = {
                "seconds": seconds, "steps": steps, "frechet": frechet(features, known),
                "kernel": kernel.distance, "kernel_error": kernel.standard_error,
            }  # fmt: skip
            curves[library].append(point)
            print(f"{library:28s}", {k: round(v, 3) for k, v in point.items()}, flush=True)
    for learner in running.values():
        learner.close()
    return {
        "size": size, "pool": options.pool, "drawn": n, "ddim_steps": options.ddim_steps,
        "budget": options.budget, "thresholds": options.thresholds, "settings": SETTINGS,
        "precision": "bfloat16 autocast" if has_bfloat16() else "float32",
        "real_to_real": frechet(others, known), "curves": curves,
        "rows": [row for threshold in options.thresholds for row in crossings(curves, threshold)],
    }  # fmt: skip


def crossings(curves: dict[str, list[dict]], threshold: float) -> list[dict]:
    """Return the seconds until each library's distance is at most the threshold, None if never."""
    found = {library: crossing(curve, threshold) for library, curve in curves.items()}
    ours = found[OURS]
    return [
        {
            "what": f"seconds to a Fréchet distance of {threshold:g}",
            "name": library,
            "seconds": seconds,
            "within": curves[library][-1]["seconds"],
            "ratio": ours / seconds if ours and seconds else None,
        }
        for library, seconds in found.items()
    ]


def crossing(curve: list[dict], threshold: float) -> float | None:
    """Return when the curve first is at most the threshold: lines between logarithms.

    The first point's own time, if it is good enough already.
    """
    for i, point in enumerate(curve):
        if point["frechet"] <= threshold:
            if i == 0:
                return point["seconds"]
            (x0, y0), (x1, y1) = (
                (math.log(p["seconds"]), math.log(p["frechet"])) for p in (curve[i - 1], point)
            )
            return math.exp(x0 + (x1 - x0) * (y0 - math.log(threshold)) / (y0 - y1))
    return None


def ours(images: Tensor, times: list[float], options: Namespace) -> Iterator[Moment]:
    """Run ``tigerdiff.train``, stopped to draw and resumed; its clock leaves the stops out."""
    size = options.quality_size
    with tempfile.TemporaryDirectory() as trial, tempfile.TemporaryDirectory() as out:
        config = our_config(images, trial, size, seed=options.seed, steps=3, sample_every=0)
        speeds = [step.images_per_second for step in train(config)]
        # As many steps as the seconds allow: where the learning rate falls, it falls to the end.
        total = math.ceil(times[-1] * sorted(speeds)[1] / config.batch_size)
        config = replace(config, out=out, steps=max(total, 2), checkpoint_every=max(total, 2))
        seconds, done = 0.0, 0
        for wanted in times:
            if done < config.steps:
                walk = train(replace(config, resume=done > 0))
                for step in walk:
                    seconds += config.batch_size / step.images_per_second
                    done = step.step
                    if seconds >= wanted:
                        break
                walk.close()  # saves
            model, schedule = load_checkpoint(out)
            model = model.to(find_device(), memory_format=torch.channels_last)
            drawing = partial(our_draw, model, schedule, size=size, steps=options.ddim_steps)
            yield seconds, done, drawn(drawing, options)


def peer(library: str, images: Tensor, times: list[float], options: Namespace) -> Iterator[Moment]:
    """Run a peer's steps, with the clock on them and on the batches alone."""
    size, x0s = options.quality_size, batches(images, BATCHES[library], seed=options.seed)
    torch.manual_seed(options.seed)

    def fresh(total: int) -> Trainer:
        model = network(library, size).to(find_device()).train()
        if library == DIFFUSERS:
            return diffusers_trainer(model, has_bfloat16(), total)
        return lucidrains_trainer(model, size, has_bfloat16(), parts=2)

    trial = fresh(100)
    paces = sorted(timed(trial, x0s) for _ in range(3))
    trainer = fresh(math.ceil(times[-1] / paces[1]))
    seconds, done = 0.0, 0
    for wanted in times:
        while seconds < wanted:
            seconds += timed(trainer, x0s)
            done += 1
        model = trainer.averaged()
        drawing = partial(draw, library, model, size=size, steps=options.ddim_steps)
        yield seconds, done, drawn(drawing, options)


def timed(trainer: Trainer, x0s: Iterator[Tensor]) -> float:
    """Time one step on the next batch."""
    begin = time.perf_counter()
    trainer.step(next(x0s).to(find_device()))
    synchronize()
    return time.perf_counter() - begin


def drawn(drawing: Callable[[int], Tensor], options: Namespace) -> Tensor:
    """Draw so many pictures, 64 at a time, with the same noise if the library draws it alike."""
    state = torch.get_rng_state()
    torch.manual_seed(options.seed)
    with autocast(has_bfloat16()):
        parts = [drawing(min(64, options.drawn - first)) for first in range(0, options.drawn, 64)]
    torch.set_rng_state(state)
    return torch.cat(parts)
