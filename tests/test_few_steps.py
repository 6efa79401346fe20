"""Distillation: one step of the student leads where several steps of the teacher lead."""

import json
import sys
import types
from itertools import pairwise
from pathlib import Path

import measure_fast
import nbformat
import numpy as np
import pytest
import torch
import train_fast
from diffusers import DDIMScheduler
from torch.testing import assert_close

import tigerdiff as td

EXACT = {"rtol": 1e-9, "atol": 1e-9}


class Bent(torch.nn.Module):
    """A model whose paths are curved: its noise depends on place and time."""

    prediction = "eps"

    def forward(self, xt, t, condition=None):
        return torch.sin(3 * xt + t.reshape(-1, 1, 1, 1) / 300)


def diffusers_steps(schedule, model, x, times):
    """DDIM by diffusers, whose time is ours minus one, in double precision."""
    reference = DDIMScheduler(num_train_timesteps=schedule.T, clip_sample=False)
    reference.alphas_cumprod = schedule.alpha_bar[1:]
    reference.final_alpha_cumprod = schedule.alpha_bar[0]
    for t, t_prev in pairwise(times):
        # diffusers steps by num_train_timesteps // num_inference_steps: set what gives t - t_prev.
        reference.num_inference_steps = schedule.T // (t - t_prev)
        assert schedule.T // reference.num_inference_steps == t - t_prev
        output = model(x, torch.full((len(x),), t))
        x = reference.step(output, t - 1, x).prev_sample
    return x


@pytest.mark.parametrize("times", [(1000, 750, 500), (500, 250, 0), (500, 375, 250, 125, 0)])
def test_one_step_is_several_of_diffusers(times):
    schedule, model = td.NoiseSchedule.cosine(1000), Bent()
    xt = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_end = diffusers_steps(schedule, model, xt, times)
    target = train_fast.one_step_target(schedule, xt, x_end, times[0], times[-1])
    _, eps = td.to_x0_eps(schedule, target, xt, times[0], "x0")
    assert_close(
        diffusers_steps(schedule, lambda *_: eps, xt, times[:: len(times) - 1]), x_end, **EXACT
    )


def test_the_target_is_the_papers_and_a_weighted_mean_of_the_guesses():
    """Salimans & Ho 2022, algorithm 2, written out with numbers."""
    schedule = td.NoiseSchedule.cosine(1000)
    t, s, e = 800, 650, 500
    (alpha_t, sigma_t), (alpha_s, sigma_s), (alpha_e, sigma_e) = (
        (np.sqrt(schedule.alpha_bar[k].item()), np.sqrt(1 - schedule.alpha_bar[k].item()))
        for k in (t, s, e)
    )
    z, guess, second = 0.7, -0.2, 0.6
    between = alpha_s * guess + sigma_s / sigma_t * (z - alpha_t * guess)
    end = alpha_e * second + sigma_e / sigma_s * (between - alpha_s * second)
    papers = (end - sigma_e / sigma_t * z) / (alpha_e - sigma_e / sigma_t * alpha_t)
    z, end = (torch.tensor([[x]], dtype=torch.float64) for x in (z, end))
    ours = train_fast.one_step_target(schedule, z, end, t, e).item()
    assert ours == pytest.approx(papers, abs=1e-12)
    share = (papers - guess) / (second - guess)
    assert 0 < share < 1


def test_the_students_step_is_ddim():
    schedule, model = td.NoiseSchedule.cosine(1000), Bent()
    xT = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    walk = list(td.ddim(model, schedule, xT, steps=5))
    for now, later in pairwise(walk):
        t, t_prev = (torch.full((2,), step.t) for step in (now, later))
        moved = train_fast.ddim_step(model, schedule, now.xt, t, t_prev, None)
        assert_close(moved.double(), later.xt, rtol=1e-5, atol=1e-5)


def always(picture, prediction):
    """A model that always guesses one picture."""

    def output(xt, t, condition):
        x0 = picture.expand_as(xt)
        _, eps = td.to_x0_eps(td.NoiseSchedule.cosine(1000), x0, xt, t, "x0")
        return td.to_target(td.NoiseSchedule.cosine(1000), x0, eps, t, prediction)

    output.prediction = prediction
    return output


def test_the_loss_is_zero_if_one_step_does_what_several_do():
    schedule, plan = td.NoiseSchedule.cosine(1000), {"teacher_steps": 8, "steps": 2}
    x0, eps = torch.rand(4, 3, 4, 4) * 2 - 1, torch.randn(4, 3, 4, 4)
    picture, part = torch.rand(3, 4, 4) - 0.5, torch.tensor([0, 1, 0, 1])
    rest = (x0, eps, None, part)
    student, teacher = always(picture, "v"), always(picture, "eps")
    assert train_fast.distillation_loss(student, teacher, schedule, plan, *rest) < 1e-5
    other = always(picture + 0.1, "v")
    assert train_fast.distillation_loss(other, teacher, schedule, plan, *rest) > 1e-3
    assert train_fast.distillation_loss(student, Bent(), schedule, plan, *rest) > 1e-3


def test_each_step_of_the_student_is_learned_equally_often():
    images = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    plan = {"seed": 0, "steps": 4, "updates": 3, "condition_dropout": 0.1}
    for *_, part in train_fast.examples(plan, images, torch.zeros(4, 1, dtype=torch.int64), 1):
        assert part.bincount().tolist() == [8, 8, 8, 8]


@pytest.fixture
def small(request, tmp_path, monkeypatch):
    """The recipe with an untrained network of 16 pixels and few updates: returns a runner of it.

    The network of 64 pixels knows no words here, so that both kinds are distilled.
    """
    torch.manual_seed(0)
    name = request.param
    classes = {"fur": ["orange", "white", "golden", "black"]} if name == "ddpm-tiger-32" else None
    teacher = td.UNet(16, channels=8, multipliers=(1, 2), prediction="v", classes=classes)
    card = {"data": "painted", "seed": 5, "images": 24, "tigers": 24, "recipe": {}}
    td.save_pretrained(teacher, tmp_path / name, card=card)
    monkeypatch.setattr(train_fast, "WEIGHTS", tmp_path / "shipped")
    monkeypatch.setattr(train_fast, "TIGERS", 16)
    monkeypatch.setitem(train_fast.ROUNDS, f"{name}-fast", ((8, 4, 4), (4, 2, 4)))
    monkeypatch.setattr(train_fast, "SAVE_EVERY", 1)
    monkeypatch.chdir(tmp_path)

    def run(out):
        monkeypatch.setattr(sys, "argv", ["train_fast.py", f"{name}-fast", "--out", out])
        train_fast.main()
        return [td.load_pretrained(tmp_path / out / f"student-{k}")[0].state_dict() for k in (4, 2)]

    run.name = name
    return run


@pytest.mark.parametrize("small", ["ddpm-tiger-64"], indirect=True)
def test_a_distillation_that_was_cut_off_is_resumed_exactly(small, power_cut, tmp_path):
    whole = small("whole")
    power_cut(3, 8)  # in both rounds
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            small("parts")
    parts = small("parts")
    assert_close(parts, whole, rtol=0, atol=0)
    assert any((whole[0][name] != whole[1][name]).any() for name in whole[0])
    shipped, schedule = td.load_pretrained(tmp_path / f"shipped/{small.name}-fast")
    assert_close(shipped.state_dict(), whole[0], rtol=0, atol=0)
    card = td.read_card(tmp_path / f"shipped/{small.name}-fast")
    assert card["sampler_steps"] == 4 and card["distilled_from"] == small.name
    drawn = td.sample(shipped, schedule, 2, size=16, steps=4, progress=False)
    teacher = td.load_pretrained(tmp_path / small.name)[0]
    assert (drawn != td.sample(teacher, schedule, 2, size=16, steps=4, progress=False)).any()
    assert shipped.classes == teacher.classes


@pytest.mark.parametrize("small", ["ddpm-tiger-32"], indirect=True)
def test_students_and_teacher_are_measured_and_the_card_written(small, monkeypatch, tmp_path):
    small("run")
    monkeypatch.setattr("tigerdiff.pretrained.load.WEIGHTS", tmp_path / "shipped")
    for name, value in {
        "WEIGHTS": tmp_path / "shipped",
        "RESULTS": tmp_path,
        "TEACHER_STEPS": (1,),
        "STUDENTS": (4, 2),
        "OFF_GRID": (2,),
    }.items():
        monkeypatch.setattr(measure_fast, name, value)
    command = ["measure_fast.py", f"{small.name}-fast", "--run", "run", "-n", "20"]
    monkeypatch.setattr(sys, "argv", command)
    measure_fast.main()
    card = td.read_card(tmp_path / f"shipped/{small.name}-fast")
    measures = card["measures"]
    assert measures == json.loads((tmp_path / f"{small.name}-fast.json").read_text())["rows"]
    assert set(measures) == {
        "teacher 1", "student 4", "student 2", "student 4 in 2", "painted"
    }  # fmt: skip
    assert measures["painted"]["frechet"] < measures["student 4"]["frechet"]
    assert measures["student 2"]["frechet"] != measures["student 4 in 2"]["frechet"]
    assert card["sampler_steps"] == 4 and card["measured"]["n"] == 20


@pytest.fixture(scope="module")
def page():
    """The names that the page's cells define: the paw, its exact guess, paths, the network."""
    path = Path(__file__).parent.parent / "book/09_few_steps.ipynb"
    cells = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    names = {}
    for cell in ("few-002", "few-005", "few-010", "few-018"):
        source = cells[cell]
        if cell == "few-018":  # what follows checks a picture of the page
            source = source.split("untrained =")[0]
        exec(source, names)
    return types.SimpleNamespace(**names)


def test_the_guess_is_the_mean_over_the_paw(page):
    line = torch.linspace(-5, 5, 801, dtype=torch.float64)
    x0 = torch.cartesian_prod(line, line)
    density = sum(
        share / width**2 * torch.exp(-(x0 - centre).square().sum(1) / (2 * width**2))
        for share, width, centre in zip(page.shares, page.widths, page.centres.double())
    )
    places = torch.tensor([[0.3, 0.1], [-1.0, 0.8], [2.0, -1.0]], dtype=torch.float64)
    for s in (0.2, 1.0):
        for y in places:
            weight = density * torch.exp(-(x0 - y).square().sum(1) / (2 * s**2))
            mean = (weight[:, None] * x0).sum(0) / weight.sum()
            found = page.guess(y[None], torch.tensor([s], dtype=torch.float64))[0]
            assert_close(found, mean, rtol=1e-5, atol=1e-5)


def test_paths_end_where_the_formula_says(page, monkeypatch):
    width = 0.7
    pad = {"centres": torch.zeros(1, 2), "widths": torch.tensor([width]), "shares": torch.ones(1)}
    for name, value in pad.items():
        monkeypatch.setitem(page.guess.__globals__, name, value)
    y = page.top * torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    exact = width * y / (width**2 + page.top**2) ** 0.5
    assert_close(page.whole_path(y)[-1], exact, rtol=0, atol=2e-3)


def test_a_consistency_model_can_be_exact(page):
    y = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    zero, s, c = torch.zeros(200), torch.linspace(0.01, 5, 200), page.c
    assert_close(page.consistent(page.Jump(), y, zero), y, rtol=0, atol=0)

    def right_for_normal_data(y, s):
        root = (s[:, None] ** 2 + c**2).sqrt()
        return y / root * (root - c) / s[:, None]

    exact = c * y / (s[:, None] ** 2 + c**2).sqrt()
    assert_close(page.consistent(right_for_normal_data, y, s), exact, rtol=1e-3, atol=1e-3)
