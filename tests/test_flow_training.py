"""Chapter 8's two trainings, on v and on the velocity: equal but for the path and the target."""

import json
import math
import sys

import measure_flow
import pytest
import torch
from measure_flow import examples, loss_of, on_the_circle, straightness, velocity_of
from oracles import images, noise
from torch.testing import assert_close

import tigerdiff as td
from tigerdiff.metrics.distances import mean_mmd
from tigerdiff.pretrained.load import WEIGHTS

SCHEDULE = td.NoiseSchedule.cosine(1000)
ANGLES = torch.atan2((1 - SCHEDULE.alpha_bar).sqrt(), SCHEDULE.alpha_bar.sqrt())


def wide(t):
    return t.reshape(-1, 1, 1, 1)


def test_v_is_the_derivative_of_the_circle():
    k = torch.tensor([1, 20, 500, 999])
    x0, eps, t = images(4, 3, 2, 2), noise(4, 3, 2, 2), ANGLES[k] * 2 / math.pi

    def path(t):
        return torch.cos(wide(t) * math.pi / 2) * x0 + torch.sin(wide(t) * math.pi / 2) * eps

    xt, slope = torch.autograd.functional.jvp(path, t, torch.ones_like(t))
    assert_close(xt, td.add_noise(SCHEDULE, x0, k, eps))

    def model(xt, k):
        return td.to_target(SCHEDULE, x0, eps, k, "v")

    assert_close(on_the_circle(model, SCHEDULE)(xt, t), slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_circle_and_ddim_lead_to_the_same_end(method):
    """For normal data it is known: the noise in units of the data's deviation, around the mean."""
    mu, c, z = 0.2, 0.4, noise(20, 3, 2, 2)

    def model(xt, k):  # the best v
        a = wide(SCHEDULE.alpha_bar[k])
        x0 = mu + a.sqrt() * c**2 * (xt - a.sqrt() * mu) / (a * c**2 + 1 - a)
        return (a.sqrt() * xt - x0) / (1 - a).sqrt()

    model.prediction = "v"
    times = torch.linspace(1, 0, 201).tolist()
    *_, (_, end) = td.integrate(on_the_circle(model, SCHEDULE), z, times, method=method)
    assert_close(end, mu + c * z, rtol=0, atol=0.01)
    *_, last = td.ddim(model, SCHEDULE, z, steps=500, clip=False)
    assert_close(end, last.xt, rtol=0, atol=0.01)


def test_the_losses_of_a_constant_answer_in_closed_form():
    """It has no v or velocity in common with the pictures: their own squares are left."""
    x0, eps, answer = images(4, 3, 2, 2), noise(4, 3, 2, 2), 0.3
    part = torch.tensor([0.0, 0.2499, 0.5, 0.9999], dtype=torch.float64)
    asked = []

    def model(xt, t):
        asked.append((xt, t))
        return torch.full_like(xt, answer)

    model.prediction = "v"
    of_v = loss_of("v", model, SCHEDULE, x0, eps, part)
    of_velocity = loss_of("velocity", model, SCHEDULE, x0, eps, part)
    (xk, k), (xt, t) = asked
    assert k.tolist() == [1, 250, 501, 1000]
    assert_close(t, 1000 * part)
    phi = wide(ANGLES[k])
    assert_close(xk, phi.cos() * x0 + phi.sin() * eps)
    assert_close(xt, x0 + wide(part) * (eps - x0))
    assert_close(of_v, (phi.cos() * eps - phi.sin() * x0 - answer).square().mean())
    assert_close(of_velocity, (eps - x0 - answer).square().mean())


def test_both_are_trained_at_nearly_the_same_noise():
    """The schedule's times, made even, are nearly even on the line, too."""
    part = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    k = 1 + (1000 * part).long()
    assert (td.flow_time(SCHEDULE)[k] - part).abs().max() < 0.06


def test_each_batch_covers_the_way_and_a_later_start_changes_nothing():
    pool = torch.arange(5 * 3 * 4 * 4, dtype=torch.uint8).reshape(5, 3, 4, 4)
    all_of_them, later = list(examples(pool, 1, 4)), list(examples(pool, 3, 4))
    assert [k for k, _ in all_of_them] == [1, 2, 3, 4]
    assert_close(all_of_them[2:], later, rtol=0, atol=0)
    for _, (x0, eps, part) in all_of_them:
        assert (part * 32).long().sort().values.tolist() == list(range(32))
        assert x0.shape == eps.shape == (32, 3, 4, 4)
    assert (all_of_them[0][1][1] != all_of_them[1][1][1]).all()


def test_straight_paths_have_straightness_0_and_others_what_the_sum_says():
    model, ones = td.UNet(16, channels=8, multipliers=(1, 2)), torch.ones(4, 3, 16, 16)
    assert straightness(lambda xt, t: ones, model, n=4) < 1e-6
    # Speeds 2 t, of mean (n + 1) / n and mean square 4 (n + 1) (2 n + 1) / (6 n^2) at n = 32 times.
    assert straightness(lambda xt, t: 2 * wide(t) * ones, model, n=4) == pytest.approx(31 / 99)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The script with a network of 16 pixels and few steps: returns a runner of it."""
    classes = {"fur": ["orange", "white", "golden", "black"]}
    network = td.UNet(16, channels=8, multipliers=(1, 2), classes=classes)
    card = {"data": "painted", "seed": 5, "images": 24, "tigers": 24}
    td.save_pretrained(network, tmp_path / "weights/ddpm-tiger-32", card=card)
    monkeypatch.setattr(measure_flow, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(measure_flow, "read_card", lambda name: card)
    monkeypatch.setattr(measure_flow, "SAVE_EVERY", 1)
    monkeypatch.setattr(measure_flow, "BATCH", 8)
    monkeypatch.setattr("train_fast.TIGERS", 16)
    monkeypatch.setattr(measure_flow, "CALLS", (4,))
    monkeypatch.setattr(
        measure_flow, "distances", lambda found, known: {"kernel": mean_mmd(found, known)[0]}
    )

    def run(out):
        command = ["measure_flow.py", "--steps", "3", "-n", "20", "--out", str(tmp_path / out)]
        monkeypatch.setattr(sys, "argv", command)
        measure_flow.main()
        return json.loads((tmp_path / "weights/ddpm-tiger-32/flow_matching.json").read_text())

    return run


def test_both_are_trained_measured_and_resumed_exactly(
    small, power_cut, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(measure_flow, "METHODS", {"euler": 1})
    whole = small("whole")
    assert len(whole["rows"]) == 4
    power_cut(2, 6)  # in both trainings
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            small("parts")
    capsys.readouterr()
    again = small("parts")
    assert "'kernel'" not in capsys.readouterr().out, "rows that are there are not measured again"
    assert again["rows"] == whole["rows"] and again["errors"] == whole["errors"]
    weights = {}
    for name in ("v", "velocity"):
        of_whole, of_parts = (
            td.load_checkpoint(tmp_path / run / name)[0].state_dict() for run in ("whole", "parts")
        )
        assert_close(of_parts, of_whole, rtol=0, atol=0)
        assert (
            whole["training"][name]["loss_of_50_steps"]
            == (again["training"][name]["loss_of_50_steps"])
        )
        weights[name] = of_whole
    assert any((weights["v"][x] != weights["velocity"][x]).any() for x in weights["v"])


def test_every_network_draws_with_every_solver_in_the_calls_that_are_named(small, monkeypatch):
    asked = []
    forward = td.UNet.forward

    def counted(self, *given):
        asked.append(0)
        return forward(self, *given)

    def draw(models, schedule, row, n, draw=measure_flow.draw):
        asked.clear()
        drawn = draw(models, schedule, row, n)
        of_each = len(asked) / 2  # 20 are drawn in two parts
        assert of_each == row["calls"] - (row["method"] == "heun")
        return drawn

    monkeypatch.setattr(td.UNet, "forward", counted)
    monkeypatch.setattr(measure_flow, "draw", draw)
    result = small("run")
    assert len(result["rows"]) == 10
    kinds = {(row["network"], row["path"], row["method"]) for row in result["rows"]}
    assert len(kinds) == 10 and ("velocity", "circle", "euler") not in kinds
    assert result["painted"]["kernel"] < min(row["kernel"] for row in result["rows"])
    assert [row["t"] for row in result["errors"]] == sorted(row["t"] for row in result["errors"])
    assert result["command"].startswith("python tools/measure_flow.py --steps 3")


def test_an_untrained_network_errs_by_the_square_of_the_velocity():
    """It answers 0, so a field on the line is what remains of xt: for v a multiple of it."""
    model = td.UNet(16, channels=8, multipliers=(1, 2)).eval()
    x0 = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    models = {"v": model, "velocity": model}
    eps = torch.randn(x0.shape, generator=td.seeded_generator(1, 0))
    for row in measure_flow.errors(models, SCHEDULE, x0):
        t = row["t"]
        assert row["velocity"] == pytest.approx((eps - x0).square().mean().item(), rel=1e-5)
        xt = (1 - t) * x0 + t * eps
        of_v = (2 * t - 1) / ((1 - t) ** 2 + t**2) * xt  # what v = 0 means for u
        assert row["v"] == pytest.approx((of_v - eps + x0).square().mean().item(), rel=1e-4)
    assert velocity_of(model, SCHEDULE)(x0, torch.full((8,), 0.5)).abs().max() == 0


def test_what_ships_is_whole_and_of_this_script():
    """Each network, path and solver in each number of calls, and what chapter 8 says of it."""
    shipped = json.loads((WEIGHTS / "ddpm-tiger-32/flow_matching.json").read_text())
    rows = {(*(r[x] for x in ("network", "path", "method")), r["calls"]) for r in shipped["rows"]}
    planned = {("v", "ddim", "ddim")} | {
        (*path, method) for path in measure_flow.PATHS for method in measure_flow.METHODS
    }
    assert rows == {(*kind, calls) for kind in planned for calls in measure_flow.CALLS}
    assert len(shipped["rows"]) == len(rows)
    assert (shipped["seed"], shipped["batch_size"], shipped["learning_rate"]) == (
        measure_flow.SEED, measure_flow.BATCH, measure_flow.LEARNING_RATE
    )  # fmt: skip
    assert shipped["n"] == 256 and len(shipped["errors"]) == 10
    for training in shipped["training"].values():
        assert len(training["loss_of_50_steps"]) == shipped["steps"] / 50
        speed = shipped["steps"] * shipped["batch_size"] / training["seconds"]
        assert training["images_per_second"] == pytest.approx(speed, rel=1e-3)
