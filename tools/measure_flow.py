"""Train two equal networks, one on v and one on the velocity of straight lines, and compare them.

python tools/measure_flow.py

Both begin with the same weights and see the same tigers, noises and parts of the way in the same
order; only the path and the target differ. Then each draws in a few calls, by several solvers.
Writes tigerdiff/pretrained/weights/ddpm-tiger-32/flow_matching.json, which chapter 8 reads. What
has been trained is in --out, what has been measured in the result: the same command continues from
there, exactly. In the background: OMP_NUM_THREADS=1 nice -n 19 python tools/measure_flow.py
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from picture_sets import distances
from report import head, rounded, write
from torch import Tensor
from train_fast import TIGERS, pool
from weights_rows import BATCH as DRAWN_TOGETHER
from weights_rows import start

from tigerdiff import (
    EMA,
    NoiseSchedule,
    UNet,
    as_flow,
    ddim,
    diffusion_loss,
    flow_loss,
    flow_time,
    integrate,
    load_checkpoint,
    make_schedule,
    procedural_tigers,
    read_card,
    save_checkpoint,
    seeded_generator,
    straight_line,
    to_float,
    to_uint8,
)
from tigerdiff.commands.pictures import REFERENCE_SEED
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.metrics.distances import image_features
from tigerdiff.pretrained.load import WEIGHTS, read_config
from tigerdiff.sampling import Model
from tigerdiff.training.checkpoints import complete_checkpoints, restore
from tigerdiff.training.run import adamw

NAME = "ddpm-tiger-32"  # whose architecture, tigers and schedule these are
SEED = 1_820_000_000  # of weights and training
BATCH = 32
LEARNING_RATE = 1e-3  # reached after WARMUP steps; falls to 0 in a straight line
WARMUP = 100
DECAY = 0.9995  # of the average of the weights
SAVE_EVERY = 100  # steps
NETWORKS = ("v", "velocity")
CALLS = (2, 4, 8, 16, 32)
METHODS = {"euler": 1, "midpoint": 2, "heun": 2}  # calls of a step, at most
PATHS = (("v", "circle"), ("v", "line"), ("velocity", "line"))


def main() -> None:
    """Train both, then measure row by row; write the result after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2500, help="of each training")
    parser.add_argument("-n", type=int, default=256, help="drawings in each row")
    parser.add_argument("--out", type=Path, default=Path("runs/flow-32"), help="of the trainings")
    options = parser.parse_args()
    result_file = WEIGHTS / NAME / "flow_matching.json"
    config, card = read_config(WEIGHTS / NAME), read_card(NAME)
    schedule = make_schedule(config["schedule"], config["T"])
    shape = config["network"] | {"classes": {}}  # no words: what is compared is drawn without
    images, _ = pool(shape["size"], card["seed"], {})
    how = {
        "architecture": NAME, "seed": SEED, "steps": options.steps, "batch_size": BATCH,
        "learning_rate": LEARNING_RATE, "tigers": TIGERS, "n": options.n,
    }  # fmt: skip
    before = json.loads(result_file.read_text()) if result_file.exists() else {}
    before = before if {name: before.get(name) for name in how} == how else {}
    result = head("python tools/measure_flow.py") | how
    result["precision"] = "bfloat16" if has_bfloat16() else "float32"
    result["training"], models = {}, {}
    for name in NETWORKS:
        plan = train(name, shape, schedule, images, options.steps, options.out / name)
        models[name] = load_checkpoint(options.out / name)[0].to(
            find_device(), memory_format=torch.channels_last
        )
        means = torch.tensor(plan["losses"]).split(50)
        result["parameters"] = sum(x.numel() for x in models[name].parameters())
        result["training"][name] = {
            "seconds": plan["seconds"],
            "images_per_second": options.steps * BATCH / plan["seconds"],
            "loss_of_50_steps": [x.mean().item() for x in means],
        }
    result["rows"] = before.get("rows", [])
    measure(models, schedule, result, result_file)


def train(
    name: str, shape: dict, schedule: NoiseSchedule, images: Tensor, steps: int, out: Path
) -> dict:
    """Train one network, from its newest checkpoint if it has one; return its losses and time."""
    torch.manual_seed(SEED)
    device = find_device()
    model = UNet(**shape).to(device, memory_format=torch.channels_last)
    ema, optimizer = EMA(model, DECAY), adamw(model, LEARNING_RATE)
    plan = {"schedule": "cosine", "T": schedule.T, "seed": SEED, "steps": steps}
    plan |= {"losses": [], "seconds": 0.0}
    if found := complete_checkpoints(out):
        plan = restore(found[-1], model, ema, optimizer)["config"]
        if plan["steps"] != steps:
            raise SystemExit(f"{out} was begun with --steps {plan['steps']}: choose another --out")
    for k, batch in examples(images, len(plan["losses"]) + 1, steps):
        began = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            loss = loss_of(name, model, schedule.to(device), *(x.to(device) for x in batch))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(k / WARMUP, 1 - (k - 1) / steps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update(model)
        plan["losses"].append(loss.item())
        plan["seconds"] += time.monotonic() - began
        if k % SAVE_EVERY == 0 or k == steps:
            print(f"{name} {k:5d}  loss {loss:.4f}  {plan['seconds']:.0f} s", flush=True)
            save_checkpoint(
                out, model, ema, optimizer, step=k, config=plan, images=TIGERS, keep_last=1
            )
    return plan


def examples(images: Tensor, first: int, steps: int) -> Iterator[tuple[int, tuple]]:
    """Yield (step, (clean pictures, noise, part of the way from 0 to 1)), from the first step on.

    Everything of step k comes from (SEED, k) and is the same for both networks. One part is drawn
    from each of as many equal pieces of the way as the batch has pictures.
    """
    for k in range(first, steps + 1):
        generator = seeded_generator(SEED, k)
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        x0 = to_float(images[chosen])
        x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
        eps = torch.randn(x0.shape, generator=generator)
        offset = torch.rand((), generator=generator)
        part = (torch.randperm(BATCH, generator=generator) + offset) / BATCH
        yield k, (*(x.contiguous(memory_format=torch.channels_last) for x in (x0, eps)), part)


def loss_of(
    name: str, model: UNet, schedule: NoiseSchedule, x0: Tensor, eps: Tensor, part: Tensor
) -> Tensor:
    """Return the loss on v at the schedule's time, or on the velocity at the line's time."""
    if name == "v":
        k = (1 + (schedule.T * part).long()).clamp(max=schedule.T)
        return diffusion_loss(model, schedule, x0, k, eps)
    return flow_loss(velocity_of(model, schedule), x0, part, eps)


def velocity_of(model: UNet, schedule: NoiseSchedule) -> Model:
    """Return the network trained on the velocity as a field; it gets the time as 0 ... T."""
    return lambda xt, t: model(xt, schedule.T * t).to(xt.dtype)


def on_the_circle(model: Model, schedule: NoiseSchedule) -> Model:
    """Turn a network that predicts v into the velocity of its own path, from 1 (noise) to 0.

    With the angle phi = t pi / 2 the path is ``cos(phi) x0 + sin(phi) eps``, a part of a circle,
    and its derivative by phi is v (Salimans & Ho 2022, appendix D). The network is asked at the
    nearest angle that it knows.
    """
    angles = torch.atan2((1 - schedule.alpha_bar).sqrt(), schedule.alpha_bar.sqrt())[1:].cpu()

    def field(xt: Tensor, t: Tensor) -> Tensor:
        phi = t.cpu().double() * math.pi / 2
        k = 1 + (phi[:, None] - angles).abs().argmin(dim=1).to(xt.device)
        return math.pi / 2 * model(xt, k).to(xt.dtype)

    return field


def field_of(models: dict, schedule: NoiseSchedule, network: str, path: str) -> Model:
    """Return the velocity field of a network along a path, "line" or "circle"."""
    if network == "velocity":
        return velocity_of(models[network], schedule)
    if path == "circle":
        return on_the_circle(models[network], schedule)
    return as_flow(models[network], schedule, clip=False)


def measure(models: dict, schedule: NoiseSchedule, result: dict, file: Path) -> None:
    """Add the missing rows to the result: distances, errors by time, straightness of the paths."""
    n, size = result["n"], models["v"].config["size"]
    device = find_device()
    painted, _ = procedural_tigers(n, size, REFERENCE_SEED)
    real, rows = image_features(painted), result["rows"]
    planned = [("v", "ddim", "ddim")]
    planned += [(*path, method) for path in PATHS for method in METHODS]
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        result["errors"] = errors(models, schedule, to_float(painted).to(device))
        result["straightness"] = {
            " ".join(path): straightness(field_of(models, schedule, *path), models["v"])
            for path in PATHS
        }
        for calls in CALLS:
            for network, path, method in planned:
                row = {"network": network, "path": path, "method": method, "calls": calls}
                if any(row.items() <= other.items() for other in rows):
                    continue
                drawn = draw(models, schedule, row, n)
                rows.append(row | rounded(distances(image_features(drawn), real)))
                print(rows[-1], flush=True)
                write(file, result)
    other, _ = procedural_tigers(n, size, REFERENCE_SEED + 1)
    result["painted"] = distances(image_features(other), real)
    write(file, result)


def draw(models: dict, schedule: NoiseSchedule, row: dict, n: int) -> Tensor:
    """Draw as a row says: uint8 (n, 3, S, S), the same noise for all rows."""
    model, calls, method = models[row["network"]], row["calls"], row["method"]
    parts = []
    for first in range(0, n, DRAWN_TOGETHER):
        indices = range(first, min(n, first + DRAWN_TOGETHER))
        xT = start(model, [seeded_generator(0, i) for i in indices])
        if method == "ddim":
            *_, (_, x, _, _) = ddim(model, schedule, xT, steps=calls, clip=False)
        else:
            times = torch.linspace(1, 0, calls // METHODS[method] + 1).tolist()
            field = field_of(models, schedule, row["network"], row["path"])
            *_, (_, x) = integrate(field, xT, times, method=method)
        parts.append(to_uint8(x.nan_to_num()).cpu())
    return torch.cat(parts)


def errors(models: dict, schedule: NoiseSchedule, x0: Tensor) -> list[dict]:
    """Mean squared error of the velocity on tigers that no training saw, at equal noise."""
    eps = torch.randn(x0.shape, generator=seeded_generator(1, 0)).to(x0)
    found = []
    for t in flow_time(schedule)[schedule.T // 20 :: schedule.T // 10].tolist():
        t = torch.full((len(x0),), t, device=x0.device)
        xt, u = straight_line(x0, t, eps)
        row = {"t": t[0].item()}
        for name in NETWORKS:
            field = field_of(models, schedule, name, "line")
            guesses = [field(x, s) for x, s in zip(xt.split(32), t.split(32))]
            row[name] = (torch.cat(guesses) - u).square().mean().item()
        found.append(row)
    return found


def straightness(field: Model, model: UNet, n: int = 64, steps: int = 32) -> float:
    """Return S (Liu et al. 2023, section 2) over the paths' mean squared length; 0 if straight."""
    times = torch.linspace(1, 0, steps + 1).tolist()
    xT = start(model, [seeded_generator(0, i) for i in range(n)])
    path = torch.stack([x for _, x in integrate(field, xT, times)])
    whole = path[0] - path[-1]
    u = -path.diff(dim=0) * steps
    return ((u - whole).square().mean() / whole.square().mean()).item()


if __name__ == "__main__":
    main()
