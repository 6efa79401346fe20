"""Distil a shipped pixel model into one that draws in a few steps: ddpm-tiger-64-fast.

python tools/train_fast.py ddpm-tiger-64-fast

Progressive distillation (Salimans & Ho 2022, algorithm 2): in each round a copy of the network
learns to do in one DDIM step what the network before needs two for; in the first round, four. What
has been learned is in --out, a folder for each round and one for each finished student; the same
command continues from there, exactly. It takes a GPU where there is one, else the CPU: in the
background, at low priority, OMP_NUM_THREADS=1 nice -n 19 python tools/train_fast.py ...
"""

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from report import head
from torch import Tensor

from tigerdiff import (
    EMA,
    NoiseSchedule,
    UNet,
    add_noise,
    load_pretrained,
    procedural_tigers,
    read_card,
    save_checkpoint,
    save_pretrained,
    seeded_generator,
    timesteps,
    to_float,
    to_target,
    to_x0_eps,
)
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.diffusion import per_picture
from tigerdiff.pretrained.load import WEIGHTS, find_pretrained, read_config
from tigerdiff.training.checkpoints import complete_checkpoints, restore
from tigerdiff.training.loop import drop_condition
from tigerdiff.training.run import adamw

ROUNDS = {  # steps of both, updates
    "ddpm-tiger-32-fast": ((32, 8, 700), (8, 4, 700), (4, 2, 400), (2, 1, 400)),
    "ddpm-tiger-64-fast": ((32, 8, 700), (8, 4, 1400), (4, 2, 400), (2, 1, 400)),
}
SHIPPED = 4  # steps of the student that the package ships
TIGERS = 8192  # the first of those that the teacher was trained on
BATCH = 32
LEARNING_RATE = 5e-4  # at the beginning of each round; falls to 0 in a straight line
SAVE_EVERY = 50  # updates
DECAY = 0.99  # of the average of the weights
SEED = 1_810_000_000  # of the distillation


def main() -> None:
    """Go through the rounds, then write weights and card into the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=ROUNDS)
    parser.add_argument("--out", type=Path, help="the run's folder, default runs/NAME")
    options = parser.parse_args()
    out = options.out or Path("runs") / options.name
    teacher_name = options.name.removesuffix("-fast")
    card = read_card(teacher_name)
    config = read_config(find_pretrained(teacher_name))
    device = find_device()
    classes = config["network"].get("classes") or {}  # none: the teacher is unconditional
    images, labels = pool(config["network"]["size"], card["seed"], classes)
    teacher, schedule = load_pretrained(teacher_name)
    dropout = card["recipe"].get("condition_dropout", 0.0)  # as the teacher learned
    done = []
    for teacher_steps, steps, updates in ROUNDS[options.name]:
        student = out / f"student-{steps}"
        plan = {name: config[name] for name in ("schedule", "T")} | {
            "seed": SEED + steps, "teacher_steps": teacher_steps, "steps": steps,
            "updates": updates, "condition_dropout": dropout, "seconds": 0.0,
        }  # fmt: skip
        if not (student / "card.json").exists():
            teacher.to(device, memory_format=torch.channels_last).requires_grad_(False)
            distil(teacher, schedule, plan, images, labels, out)
        teacher, schedule = load_pretrained(student)
        done.append(read_card(student)["round"])
        if steps == SHIPPED:
            save_pretrained(
                teacher,
                WEIGHTS / options.name,
                schedule=config["schedule"],
                T=config["T"],
                card={
                    "what": f"draws painted tigers in {SHIPPED} steps of DDIM, without guidance",
                    **head("python tools/train_fast.py"),
                    "distilled_from": teacher_name,
                    "teacher_sha256": card["sha256"],
                    "sampler": "ddim",
                    "sampler_steps": SHIPPED,
                    "rounds": done,
                    **{name: card[name] for name in ("data", "seed", "tigers", "images")},
                    "tigers_distilled_on": TIGERS,
                    "learning_rate": LEARNING_RATE,
                    "batch_size": BATCH,
                    "training_hours": round(sum(x["seconds"] for x in done) / 3600, 2),
                },
            )


def pool(size: int, seed: int, classes: dict[str, list[str]]) -> tuple[Tensor, Tensor]:
    """Paint tigers: pictures, uint8 (TIGERS, 3, size, size), and their labels (TIGERS, A)."""
    images, labels = [], []
    for start in range(0, TIGERS, 1024):
        count = min(1024, TIGERS)
        painted, tigers = procedural_tigers(count, size, seed, find_device(), start=start)
        images.append(painted.cpu())
        labels += [
            [words.index(getattr(t, name)) for name, words in classes.items()] for t in tigers
        ]
    return torch.cat(images), torch.tensor(labels, dtype=torch.int64)


def distil(
    teacher: UNet, schedule: NoiseSchedule, plan: dict, images: Tensor, labels: Tensor, out: Path
) -> None:
    """Do one round, from its newest checkpoint if it has one, and export the student."""
    folder, updates = out / f"round-{plan['steps']}", plan["updates"]
    student = copy.deepcopy(teacher).requires_grad_(True).train()
    ema, optimizer = EMA(student, DECAY), adamw(student, LEARNING_RATE)
    first = 1
    if found := complete_checkpoints(folder):
        state = restore(found[-1], student, ema, optimizer)
        plan, first = state["config"], state["step"] + 1
    device = next(teacher.parameters()).device
    schedule = schedule.to(device)
    for k, batch in enumerate(examples(plan, images, labels, first), first):
        began = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            loss = distillation_loss(
                student, teacher, schedule, plan, *(x.to(device) for x in batch)
            )
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - (k - 1) / updates)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        ema.update(student)
        plan["seconds"] += time.monotonic() - began
        if k % 25 == 0:
            print(
                f"{plan['steps']} steps, {k:5d}  loss {loss:.4f}  {plan['seconds']:.0f} s",
                flush=True,
            )
        if k % SAVE_EVERY == 0 or k == updates:
            save_checkpoint(
                folder, student, ema, optimizer, step=k, config=plan, images=TIGERS, keep_last=1
            )
    save_pretrained(
        ema.model,
        out / f"student-{plan['steps']}",
        schedule=plan["schedule"],
        T=plan["T"],
        card={"round": plan},
    )


def examples(plan: dict, images: Tensor, labels: Tensor, first: int) -> Iterator[tuple]:
    """Yield, for each update from the first, clean pictures, noise, labels and parts of the time.

    Everything of update k comes from (seed, k). A part is the number of the student's step, 0 being
    the one from pure noise; all parts are equally likely.
    """
    for k in range(first, plan["updates"] + 1):
        generator = seeded_generator(plan["seed"], k)
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        x0 = to_float(images[chosen])
        x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
        eps = torch.randn(x0.shape, generator=generator)
        u = torch.rand(BATCH, 1 + labels.shape[1], generator=generator)
        offset = torch.rand((), generator=generator)
        part = ((torch.arange(BATCH) + offset) / BATCH * plan["steps"]).long()
        part = part.clamp(max=plan["steps"] - 1)[torch.randperm(BATCH, generator=generator)]
        channels_last = {"memory_format": torch.channels_last}
        condition = drop_condition(labels[chosen], plan["condition_dropout"], u)
        yield x0.contiguous(**channels_last), eps.contiguous(**channels_last), condition, part


def distillation_loss(
    student: UNet, teacher: UNet, schedule: NoiseSchedule, plan: dict,
    x0: Tensor, eps: Tensor, condition: Tensor, part: Tensor,
) -> Tensor:  # fmt: skip
    """Compute the mean squared error of v: a step of the student against steps of the teacher."""
    grid = torch.tensor(timesteps(schedule, plan["teacher_steps"]), device=part.device)
    each = plan["teacher_steps"] // plan["steps"]
    t = grid[part * each]
    xt = x = add_noise(schedule, x0, t, eps)
    with torch.no_grad():
        for j in range(each):
            x = ddim_step(
                teacher, schedule, x, grid[part * each + j], grid[part * each + j + 1], condition
            )
        target = one_step_target(schedule, xt, x, t, grid[part * each + each])
        eps = to_x0_eps(schedule, target, xt, t, "x0")[1]
        v = to_target(schedule, target, eps, t, "v")
    return F.mse_loss(student(xt, t, condition).float(), v)


def ddim_step(
    model: UNet, schedule: NoiseSchedule, xt: Tensor, t: Tensor, t_prev: Tensor, condition: Tensor
) -> Tensor:
    """Go from t to t_prev as :func:`tigerdiff.ddim` does, with a time for each picture."""
    output = model(xt, t, condition).to(xt.dtype)
    x0, _ = to_x0_eps(schedule, output, xt, t, model.prediction)
    x0 = x0.clamp(-1, 1)
    _, eps = to_x0_eps(schedule, x0, xt, t, "x0")
    return add_noise(schedule, x0, t_prev, eps)


def one_step_target(
    schedule: NoiseSchedule, xt: Tensor, x_end: Tensor, t: Tensor | int, t_end: Tensor | int
) -> Tensor:
    """Return the x0 with which one step of DDIM leads to x_end (Salimans & Ho 2022, algorithm 2).

    Args:
        schedule: the noise schedule.
        xt: noisy pictures (B, ...) at time t.
        x_end: where several steps of the teacher led from there, at time t_end, shape of xt.
        t: times 1 ... T, an int or int64 (B,).
        t_end: earlier times, 0 ... t - 1, of the same kind.
    """
    a, a_end = schedule.alpha_bar[t], schedule.alpha_bar[t_end]
    shrink = ((1 - a_end) / (1 - a)).sqrt()  # by which the noise shrinks
    own = a_end.sqrt() - shrink * a.sqrt()
    return (x_end - per_picture(shrink, xt) * xt) / per_picture(own, xt)


if __name__ == "__main__":
    main()
