"""The loss against its formulas, and runs that are killed, resumed, spread and interrupted."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tigerdiff.data.tensors import seeded_generator, to_uint8
from tigerdiff.diffusion import NoiseSchedule, make_schedule
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.training import checkpoints as runs
from tigerdiff.training import examples
from tigerdiff.training import loop as training
from tigerdiff.training import run as running
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.ema import EMA
from tigerdiff.training.log import COLUMNS
from tigerdiff.training.loop import diffusion_loss, stratified_times, train
from tigerdiff.unet import UNet

SIZE = 16


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order as in the runs' own processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (12, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def config(images, tmp_path):
    return TrainConfig(
        images, tmp_path / "run", image_size=SIZE, steps=4, batch_size=4, channels=8, blocks=1,
        warmup_steps=3, learning_rate=1e-3, sample_every=0, checkpoint_every=2,
    )  # fmt: skip


def checkpoint_tensors(folder):
    return {
        f"{file.stem}: {name}": tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_equal_bits(folder, other):
    mine, theirs = checkpoint_tensors(folder), checkpoint_tensors(other)
    assert mine.keys() == theirs.keys()
    assert len(mine) > 100
    assert not [name for name in mine if not torch.equal(mine[name], theirs[name])]


class Answer(torch.nn.Module):
    """A network that always gives the same answer, and remembers what it was asked."""

    def __init__(self, answer, prediction="eps"):
        super().__init__()
        self.answer, self.prediction = answer, prediction

    def forward(self, xt, t):
        self.xt = xt
        return self.answer


# The loss


@pytest.fixture(params=["linear", "cosine"])
def schedule(request):
    return make_schedule(request.param, 100)


@pytest.fixture
def noised():
    generator = torch.Generator().manual_seed(1)
    x0 = torch.rand(64, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return x0, stratified_times(100, 64, generator), torch.randn(x0.shape, generator=generator)


def target(prediction, schedule, x0, t, eps):
    """What is to be predicted, in float64 and image by image."""
    a = [schedule.alpha_bar[k].item() for k in t.tolist()]
    if prediction == "v":
        rows = [ak**0.5 * e - (1 - ak) ** 0.5 * x for ak, x, e in zip(a, x0.double(), eps.double())]
        return torch.stack(rows)
    return {"eps": eps, "x0": x0}[prediction].double()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_loss_is_the_mean_square_distance_from_the_formula(schedule, noised, prediction):
    x0, t, eps = noised
    truth = target(prediction, schedule, x0, t, eps)
    exact = diffusion_loss(Answer(truth.float(), prediction), schedule, x0, t, eps)
    assert exact.item() < 1e-12
    off = diffusion_loss(Answer(torch.full_like(x0, 0.3), prediction), schedule, x0, t, eps)
    assert off.item() == pytest.approx((truth - 0.3).square().mean().item(), rel=1e-5)


def test_loss_of_a_network_that_answers_zero_is_one(schedule, noised):
    x0, t, eps = noised
    loss = diffusion_loss(Answer(torch.zeros_like(x0)), schedule, x0, t, eps)
    assert loss.item() == pytest.approx(1, abs=0.02)


def test_an_untrained_unet_answers_zero(config):
    (first,) = train(replace(config, steps=1, batch_size=32, prediction="eps"))
    assert first.loss == pytest.approx(1, abs=0.03)


def test_loss_sees_the_prediction_behind_a_data_parallel_wrapper(schedule, noised):
    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = Answer(noised[0], "x0")

        def forward(self, xt, t):
            return self.module(xt, t)

    assert diffusion_loss(Wrapper(), schedule, *noised).item() == 0


def test_loss_rejects_an_unknown_prediction(schedule, noised):
    with pytest.raises(ValueError, match="prediction must be"):
        diffusion_loss(Answer(noised[0], "score"), schedule, *noised)


def test_noise_and_loss_stay_float32_under_autocast(schedule, noised):
    x0, t, eps = noised
    model = Answer(torch.zeros_like(x0).bfloat16())
    plain = diffusion_loss(model, schedule, x0, t, eps)
    xt = model.xt
    with torch.autocast("cpu", torch.bfloat16):
        loss = diffusion_loss(model, schedule, x0, t, eps)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, plain)
    assert torch.equal(model.xt, xt)


@pytest.fixture
def fresh_accelerate():
    """Accelerate keeps one precision for a whole process: forget it before and after."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_only_where_there_are_units_for_it(units, monkeypatch, fresh_accelerate):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: units, raising=False)
    assert running.make_accelerator(None).mixed_precision == ("bf16" if units else "no")


# Times


@pytest.mark.parametrize(("T", "n"), [(1000, 64), (1000, 7), (10, 64), (1, 3)])
def test_times_fill_all_parts_evenly(T, n):
    t = stratified_times(T, n, torch.Generator().manual_seed(3))
    assert t.dtype == torch.int64
    assert 1 <= t.min() <= t.max() <= T
    # As many times at or below each t as its share of 1 ... T asks for, give or take one.
    for k in range(0, T + 1, max(1, T // 50)):
        assert abs(int((t <= k).sum()) - n * k / T) < 1 + 1e-9


def test_each_time_is_equally_likely_at_each_place():
    T, n, draws = 5, 3, 4000
    generator = torch.Generator().manual_seed(4)
    t = torch.stack([stratified_times(T, n, generator) for _ in range(draws)])
    for place in t.unbind(1):
        share = torch.bincount(place, minlength=T + 1)[1:] / draws
        assert (share - 1 / T).abs().max() < 5 * (0.2 * 0.8 / draws) ** 0.5


# Training


def test_it_learns_one_batch_by_heart(tmp_path):
    edges = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    edges[:, :, :, SIZE // 2 :] = 255
    config = TrainConfig(
        edges, tmp_path, image_size=SIZE, steps=80, batch_size=16, channels=16, blocks=1,
        warmup_steps=5, learning_rate=4e-3, sample_every=0, prediction="eps", schedule="linear",
    )  # fmt: skip
    losses = [record.loss for record in train(config)]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert sum(losses[-5:]) / 5 < 0.15


def test_records_and_log_say_the_same(config):
    records = list(train(config))
    assert [record.step for record in records] == [1, 2, 3, 4]
    expected = [1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3]
    assert [record.learning_rate for record in records] == pytest.approx(expected)
    with (config.out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS.split(",")
    for row, record in zip(rows, records, strict=True):
        assert int(row["step"]) == record.step
        assert float(row["loss"]) == pytest.approx(record.loss, rel=1e-5)
        assert float(row["images_per_second"]) == pytest.approx(record.images_per_second, rel=1e-3)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert json.loads((config.out / "config.json").read_text()) == config.to_json()


def test_the_same_seed_gives_the_same_run_and_leaves_the_global_generator_alone(config, tmp_path):
    torch.manual_seed(5)
    first = [record.loss for record in train(config)]
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert first == [record.loss for record in train(replace(config, out=tmp_path / "b"))]
    other = replace(config, out=tmp_path / "c", seed=1)
    assert first != [record.loss for record in train(other)]


@pytest.mark.parametrize("size", [8, 16, 24, 32, 48, 64, 96, 128, 256, 512])
def test_there_is_a_default_network_for_each_size(size, tmp_path):
    with torch.device("meta"):
        model = TrainConfig("photos", tmp_path, image_size=size).network()
        assert model(torch.empty(1, 3, size, size), torch.ones(1).long()).shape == (
            1,
            3,
            size,
            size,
        )


def test_a_compiled_network_learns_the_same(config, tmp_path, monkeypatch):
    """Through torch's own tracing, without the C++ compiler, which a machine need not have."""
    plain = [record.loss for record in train(config)]
    traced = []

    def compile_(network):
        traced.append(network)
        torch.nn.Module.compile(network, backend="eager", fullgraph=True)

    monkeypatch.setattr(UNet, "compile", compile_)
    compiled = replace(config, out=tmp_path / "compiled", compile=True)
    assert [record.loss for record in train(compiled)] == pytest.approx(plain, rel=1e-3)
    assert len(traced) == 1
    names = [load_file(folder / "checkpoints/step-000004/model.safetensors").keys() for folder in
             (config.out, compiled.out)]  # fmt: skip
    assert names[0] == names[1]


def test_the_default_network_at_32_pixels_is_small(tmp_path):
    model = TrainConfig("photos", tmp_path).network()
    assert 3e6 < sum(weight.numel() for weight in model.parameters()) < 5e6


def test_a_sample_grid_is_drawn_while_it_trains(config):
    for record in train(replace(config, sample_every=3)):
        if record.step == 3:
            with Image.open(config.out / "samples" / "step-000003.png") as grid:
                grid.verify()
                assert grid.format == "PNG"
                assert grid.size == (4 * (SIZE + 2) + 2, 4 * (SIZE + 2) + 2)
    names = sorted(path.name for path in (config.out / "samples").iterdir())
    assert names == ["step-000003.png", "step-000004.png"]


def test_skipped_photos_are_named_in_the_log(config, images, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(images[:3]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    (folder / "broken tiger.jpg").write_bytes(b"not a picture")
    list(train(replace(config, data=folder, steps=1)))
    assert "broken tiger.jpg" in (config.out / "log.txt").read_text()
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 3


def test_a_name_that_is_not_utf8_reaches_the_log(config, images, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(folder / "good.png")
    try:
        for name in (b"bad\xff.txt", b"torn\xff.jpg"):
            (folder / os.fsdecode(name)).write_bytes(b"not a picture")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    list(train(replace(config, data=folder, steps=1)))
    log = (config.out / "log.txt").read_text(encoding="utf-8")
    assert "bad\\udcff.txt" in log and "torn\\udcff.jpg" in log
    assert "Logging error" not in capsys.readouterr().err


# Checkpoints and resume


@pytest.mark.parametrize(
    "change", [{"dropout": 0.0}, {"dropout": 0.3}, {"data": "painted"}], ids=str
)
def test_resume_is_exact(config, tmp_path, change):
    whole = replace(config, steps=20, checkpoint_every=10, **change)
    losses = [record.loss for record in train(whole)]
    half = replace(whole, out=tmp_path / "two", steps=10)
    first = [record.loss for record in train(half)]
    torch.manual_seed(123)  # a new process has another global state
    second = [record.loss for record in train(replace(half, steps=20, resume=True))]
    assert first + second == losses
    end = "checkpoints/step-000020"
    assert_equal_bits(whole.out / end, half.out / end)


RUN = """
import os, signal, sys, torch
from safetensors.torch import load_file
from tigerdiff.training.loop import TrainConfig, train
torch.set_num_threads(1)
data, out, resume, kill_at = sys.argv[1:]
images = data if data == "painted" else load_file(data)["images"]
config = TrainConfig(images, out, image_size=16, steps=20, batch_size=4,
    channels=8, blocks=1, warmup_steps=3, learning_rate=1e-3, sample_every=0, checkpoint_every=10,
    resume=resume == "yes")
for record in train(config):
    if record.step == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("source", ["images", "painted"])
def test_a_killed_run_goes_on_exactly(config, images, tmp_path, source):
    data = tmp_path / "images.safetensors" if source == "images" else "painted"
    save_file({"images": images}, tmp_path / "images.safetensors")
    killed = tmp_path / "killed"

    def run(resume, kill_at):
        command = [sys.executable, "-c", RUN, data, killed, resume, str(kill_at)]
        return subprocess.run(command, check=False, timeout=300).returncode

    assert run("no", 13) == -signal.SIGKILL
    assert [path.name for path in runs.complete_checkpoints(killed)] == ["step-000010"]
    with (killed / "log.csv").open("a") as file:
        file.write("14,0.9")  # a line that the kill cut in half
    assert run("yes", -1) == 0
    shown = images if source == "images" else "painted"
    whole = replace(config, data=shown, steps=20, checkpoint_every=10)
    losses = [f"{record.loss:.6g}" for record in train(whole)]
    assert_equal_bits(killed / "checkpoints/step-000020", whole.out / "checkpoints/step-000020")
    with (killed / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert [row["loss"] for row in rows] == losses


def test_leaving_the_loop_saves(config, tmp_path):
    whole = replace(config, steps=6, checkpoint_every=100)
    losses = [record.loss for record in train(whole)]
    part = replace(whole, out=tmp_path / "part")
    records = train(part)
    assert [next(records).loss for _ in range(3)] == losses[:3]
    records.close()
    assert runs.find_checkpoint(part.out).name == "step-000003"
    assert [record.loss for record in train(replace(part, resume=True))] == losses[3:]


def test_an_interrupt_within_a_step_saves_what_is_whole(config, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return diffusion_loss(*arguments)

    monkeypatch.setattr(training, "diffusion_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(train(replace(config, steps=9, checkpoint_every=100)))
    assert runs.find_checkpoint(config.out).name == "step-000003"


def test_steps_of_an_interrupted_stretch_reach_the_log(config, tmp_path, monkeypatch):
    whole = replace(config, steps=9)
    losses = [f"{record.loss:.6g}" for record in train(whole)]

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return diffusion_loss(*arguments)

    calls = []
    monkeypatch.setattr(training, "diffusion_loss", interrupted)
    # As on a GPU: losses are fetched for several steps at a time.
    monkeypatch.setattr(running, "is_due", lambda every, step, last: step in (5, last))
    part = replace(whole, out=tmp_path / "part", checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        list(train(part))
    assert runs.find_checkpoint(part.out).name == "step-000007"

    def logged():
        with (part.out / "log.csv").open() as file:
            return [(int(row["step"]), row["loss"]) for row in csv.DictReader(file)]

    assert logged() == list(enumerate(losses[:7], 1))
    list(train(replace(part, resume=True)))
    assert logged() == list(enumerate(losses, 1))


def slowly(steps, shown):
    """The sampler, telling at each of its steps."""
    for step in steps:
        shown(step)
        yield step


def test_a_stop_while_a_grid_is_drawn_gives_the_grid_up(config, monkeypatch):
    stop, times = threading.Event(), []

    def shown(step):
        times.append(step.t)
        if len(times) == 3:
            stop.set()

    ddim = running.ddim
    monkeypatch.setattr(running, "ddim", lambda *a, **k: slowly(ddim(*a, **k), shown))
    records = list(train(replace(config, steps=9, checkpoint_every=100, sample_every=2), stop))
    assert [record.step for record in records] == [1, 2]
    assert len(times) == 3
    assert runs.find_checkpoint(config.out).name == "step-000002"
    assert not (config.out / "samples").exists()


def test_no_grid_is_begun_after_a_stop(config, monkeypatch):
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(running, "ddim", lambda *a, **k: slowly(iter(()), None))
    assert len(list(train(replace(config, sample_every=1), stop))) == 1
    assert runs.find_checkpoint(config.out).name == "step-000001"


def test_an_interrupt_while_a_grid_is_drawn_saves(config, monkeypatch):
    def shown(step):
        raise KeyboardInterrupt

    ddim = running.ddim
    monkeypatch.setattr(running, "ddim", lambda *a, **k: slowly(ddim(*a, **k), shown))
    with pytest.raises(KeyboardInterrupt):
        list(train(replace(config, checkpoint_every=100, sample_every=1)))
    assert runs.find_checkpoint(config.out).name == "step-000001"
    assert len((config.out / "log.csv").read_text().splitlines()) == 2


def test_an_interrupt_within_an_update_saves_no_half_of_it(config, monkeypatch):
    def interrupted(self, model):
        if self.step == 3:
            raise KeyboardInterrupt
        update(self, model)

    update = EMA.update
    monkeypatch.setattr(EMA, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(train(replace(config, steps=9)))
    assert runs.find_checkpoint(config.out).name == "step-000002"


def test_a_stop_event_saves_and_ends(config):
    stop = threading.Event()
    for record in train(replace(config, steps=50, checkpoint_every=100), stop):
        if record.step == 3:
            stop.set()
    assert record.step == 4
    assert runs.find_checkpoint(config.out).name == "step-000004"


def test_the_last_k_checkpoints_stay(config):
    list(train(replace(config, steps=7, checkpoint_every=1, keep_last=2)))
    names = [path.name for path in (config.out / "checkpoints").iterdir()]
    assert sorted(names) == ["step-000006", "step-000007"]


def test_steps_are_sorted_as_numbers(tmp_path):
    for step in (999_999, 1_000_000, 20):
        folder = tmp_path / "checkpoints" / f"step-{step:06d}"
        folder.mkdir(parents=True)
        for file in runs.FILES:
            (folder / file).touch()
    names = [folder.name for folder in runs.complete_checkpoints(tmp_path)]
    assert names == ["step-000020", "step-999999", "step-1000000"]


def test_half_a_checkpoint_is_passed_over(config):
    list(train(config))
    checkpoints = config.out / "checkpoints"
    (checkpoints / ".partial-000009").mkdir()
    (checkpoints / "step-000009").mkdir()
    (checkpoints / "step-000009" / "model.safetensors").write_bytes(b"half")
    assert runs.find_checkpoint(config.out).name == "step-000004"
    with pytest.raises(FileNotFoundError, match=r"step-000009 is not a complete checkpoint: ema"):
        runs.load_checkpoint(checkpoints / "step-000009")
    list(train(replace(config, steps=10, resume=True)))
    assert not list(checkpoints.glob(".partial-*"))
    assert runs.find_checkpoint(config.out).name == "step-000010"


def test_a_save_that_fails_takes_nothing_with_it(config, monkeypatch):
    list(train(config))
    before = checkpoint_tensors(runs.find_checkpoint(config.out))

    def full_disk(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(runs.os, "replace", full_disk)
    model = config.network()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(OSError, match="No space left"):
        runs.save_checkpoint(config.out, model, EMA(model), optimizer, step=5, config={}, images=1)
    after = checkpoint_tensors(runs.find_checkpoint(config.out))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_complete_checkpoint_is_not_written_again(config):
    list(train(config))
    folder = runs.find_checkpoint(config.out)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    model = config.network()
    optimizer = torch.optim.AdamW(model.parameters())
    again = runs.save_checkpoint(
        config.out, model, EMA(model), optimizer, step=4, config={}, images=1
    )
    assert again == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_load_checkpoint_gives_the_averaged_network_and_the_schedule(config):
    list(train(replace(config, schedule="cosine", T=50, prediction="v")))
    averaged = load_file(config.out / "checkpoints/step-000004/ema.safetensors")
    for path in (config.out, str(config.out / "checkpoints/step-000004")):
        model, schedule = runs.load_checkpoint(path)
        assert not model.training
        assert model.prediction == "v"
        assert torch.equal(schedule.alpha_bar, NoiseSchedule.cosine(50).alpha_bar)
        weights = model.state_dict()
        assert weights.keys() == averaged.keys()
        assert all(torch.equal(weights[name], averaged[name]) for name in averaged)


def test_what_cannot_be_loaded_is_named(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        runs.load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no complete checkpoint"):
        runs.load_checkpoint(tmp_path)
    list(train(config))
    folder = runs.find_checkpoint(config.out)
    weights = folder / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"ema\.safetensors is damaged"):
        runs.load_checkpoint(config.out)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"format": 2}))
    with pytest.raises(ValueError, match="has checkpoint format 2"):
        runs.load_checkpoint(config.out)
    (folder / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        runs.load_checkpoint(config.out)


def change_state(folder, **changes):
    state = json.loads((folder / "state.json").read_text())
    for name, value in changes.items():
        state[name] = state[name] | value if isinstance(value, dict) else value
    (folder / "state.json").write_text(json.dumps(state))


def swap_tensors(name, change):
    def damage(folder):
        save_file(change(load_file(folder / name)), folder / name)

    return damage


def without_one(tensors):
    tensors.pop(sorted(tensors)[0])
    return tensors


def misshapen(tensors):
    return tensors | {"stem.weight/exp_avg": torch.zeros(2)}


LOADED = {
    "only a format": (
        lambda folder: (folder / "state.json").write_text('{"format": 1}'),
        r"state\.json is damaged \(its step is missing",
    ),
    "no dict": (lambda f: (f / "state.json").write_text("[]"), r"state\.json is damaged"),
    "network of a list": (
        lambda folder: change_state(folder, network=[]),
        r"state\.json is damaged \(its network",
    ),
    "another width": (
        lambda folder: change_state(folder, network={"channels": 16}),
        r"ema\.safetensors is damaged \(it is not of the network",
    ),
    "impossible width": (
        lambda folder: change_state(folder, network={"channels": 9}),
        r"state\.json is damaged \(channels must be",
    ),
    "unknown argument": (
        lambda folder: change_state(folder, network={"depth": 9}),
        r"state\.json is damaged \(.*depth",
    ),
    "impossible T": (
        lambda folder: change_state(folder, config={"T": 0}),
        r"state\.json is damaged \(T must be",
    ),
    "a weight less": (
        swap_tensors("ema.safetensors", without_one),
        r"ema\.safetensors is damaged \(it is not of the network",
    ),
}
RESUMED = {
    "only a format": LOADED["only a format"],
    "another width": (
        lambda folder: change_state(folder, network={"channels": 16}),
        r"network channels is 8 but the run in .* has 16: resume with",
    ),
    "another network's weights": (
        swap_tensors("model.safetensors", without_one),
        r"model\.safetensors is damaged",
    ),
    "a file of something else": (
        swap_tensors("optimizer.safetensors", lambda _: {"": torch.zeros(1)}),
        r"optimizer\.safetensors is damaged \(its time\.0\.weight/step is missing",
    ),
    "moments of another shape": (
        swap_tensors("optimizer.safetensors", misshapen),
        r"optimizer\.safetensors is damaged \(its stem\.weight/exp_avg is missing or misshapen",
    ),
}


@pytest.mark.parametrize("kind", LOADED)
def test_a_damaged_checkpoint_is_named_when_loaded(config, kind):
    damage, sentence = LOADED[kind]
    list(train(replace(config, steps=1)))
    damage(runs.find_checkpoint(config.out))
    with pytest.raises(ValueError, match=sentence) as error:
        runs.load_checkpoint(config.out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", RESUMED)
def test_a_damaged_checkpoint_is_named_when_resumed(config, kind):
    damage, sentence = RESUMED[kind]
    list(train(replace(config, steps=1)))
    damage(runs.find_checkpoint(config.out))
    before = (config.out / "log.csv").read_text(), (config.out / "config.json").read_text()
    with pytest.raises(ValueError, match=sentence) as error:
        next(train(replace(config, resume=True)))
    assert "\n" not in str(error.value)
    after = (config.out / "log.csv").read_text(), (config.out / "config.json").read_text()
    assert after == before


def test_a_resume_with_the_wrong_data_takes_nothing_from_the_log(config, tmp_path):
    list(train(replace(config, steps=3, checkpoint_every=2)))
    shutil.rmtree(config.out / "checkpoints" / "step-000003")
    before = (config.out / "log.csv").read_text(), (config.out / "config.json").read_text()
    with pytest.raises(FileNotFoundError, match="no photos does not exist"):
        next(train(replace(config, data=tmp_path / "no photos", resume=True)))
    after = (config.out / "log.csv").read_text(), (config.out / "config.json").read_text()
    assert after == before
    list(train(replace(config, resume=True)))
    assert len((config.out / "log.csv").read_text().splitlines()) == 5


def test_a_run_is_not_started_over_another(config):
    list(train(config))
    before = checkpoint_tensors(runs.find_checkpoint(config.out))
    with pytest.raises(FileExistsError, match=r"step-000004.*--resume"):
        next(train(replace(config, steps=9)))
    assert checkpoint_tensors(runs.find_checkpoint(config.out)).keys() == before.keys()
    assert len((config.out / "log.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 6}, {"seed": 1}, {"schedule": "linear"}, {"channels": 16}, {"dropout": 0.1}],
)
def test_resume_refuses_another_run(config, change):
    list(train(config))
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} is .* but the run in .* has"):
        next(train(replace(config, steps=9, resume=True, **change)))


def test_resume_needs_a_checkpoint_and_tells_of_other_images(config, images):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        next(train(replace(config, resume=True)))
    list(train(config))
    assert list(train(replace(config, resume=True))) == []
    list(train(replace(config, data=images[:5], steps=5, resume=True)))
    assert "data holds 5 images now and held 12 before" in (config.out / "log.txt").read_text()


# Painted tigers


def recorded_batches(config, monkeypatch):
    """Trains, and returns the batches that the loss has seen, as uint8."""
    seen = []

    def recording(model, schedule, x0, *others):
        seen.append(to_uint8(x0))
        return diffusion_loss(model, schedule, x0, *others)

    with monkeypatch.context() as patch:
        patch.setattr(training, "diffusion_loss", recording)
        list(train(config))
    return torch.cat(seen)


def test_painted_tigers_are_trained_on_in_their_order_each_once(config, monkeypatch):
    part = replace(config, data="painted", seed=3, steps=3)
    seen = recorded_batches(part, monkeypatch)
    assert torch.equal(seen, procedural_tigers(12, SIZE, 3)[0])
    more = recorded_batches(replace(part, steps=5, resume=True), monkeypatch)
    assert torch.equal(more, procedural_tigers(8, SIZE, 3, start=12)[0])


def test_a_checkpoint_says_how_many_painted_tigers_were_seen(config, images):
    painted = replace(config, data="painted")
    list(train(painted))
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 4 * 4
    list(train(replace(painted, steps=6, resume=True)))
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 6 * 4
    assert (config.out / "log.txt").read_text() == ""
    list(train(replace(config, steps=7, resume=True)))
    assert "data holds 12 images now and held 24 before" in (config.out / "log.txt").read_text()


def test_the_word_painted_is_not_the_folder_of_that_name(config, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "painted").mkdir()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save("painted/photo.png")
    for data in ("./painted", Path("painted"), tmp_path / "painted"):
        of_folder = replace(config, data=data)
        assert not of_folder.painted
        assert of_folder.images(progress=False).equal(images[:1])
        assert of_folder.to_json()["data"] != "painted"
        with pytest.raises(ValueError, match="must not be in data"):
            replace(config, data=data, out="painted/run")
    word = replace(config, data="painted", out=tmp_path / "run")
    assert word.painted
    assert word.to_json()["data"] == "painted"
    list(train(replace(word, steps=1)))
    assert "the folder painted would be ./painted" in (tmp_path / "run/log.txt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 8}, r"image_size must be 16 ... 1024 for painted tigers \(got 8\)"),
        ({"image_size": 2048}, "image_size must be 16 ... 1024"),
        ({"seed": 2**31}, r"seed must be 0 ... 2\*\*31 - 1 for painted tigers"),
    ],
)
def test_what_cannot_be_painted_is_named(config, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(config, data="painted", **change)


# Trouble


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(config, monkeypatch):
    calls = []

    def diverging(*arguments):
        calls.append(1)
        return diffusion_loss(*arguments) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(training, "diffusion_loss", diverging)
    with pytest.raises(
        FloatingPointError, match=r"at step 4: go on from step-000002 .*lower learning rate"
    ):
        list(train(replace(config, steps=9)))
    weights = checkpoint_tensors(runs.find_checkpoint(config.out))
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_a_gradient_that_is_not_finite_ends_it_too(config, monkeypatch):
    def exploding(model, *arguments):
        loss = diffusion_loss(model, *arguments)
        next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr(training, "diffusion_loss", exploding)
    with pytest.raises(
        FloatingPointError, match=r"at step 1: no checkpoint was written before, so start again"
    ):
        list(train(config))
    assert runs.complete_checkpoints(config.out) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1 "),
        ({"steps": 2.5}, r"steps must be a whole number of at least 1 \(got 2\.5\)"),
        ({"steps": "2"}, r"steps must be a whole number of at least 1 \(got '2'\)"),
        ({"steps": True}, "steps must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1 "),
        ({"image_size": 16.0}, "image_size must be a whole number"),
        ({"T": 0}, "T must be a whole number of at least 1 "),
        ({"blocks": 0}, "blocks must be a whole number of at least 1 "),
        ({"keep_last": 0}, "keep_last must be a whole number of at least 1 "),
        ({"sample_every": -1}, "sample_every must be a whole number of at least 0 "),
        ({"channels": 12.5}, "channels must be a whole number of at least 8 "),
        ({"multipliers": (1, 0)}, "each of multipliers must be a whole number of at least 1 "),
        ({"multipliers": 2}, "multipliers must be a list of whole numbers"),
        ({"attention": (4.5,)}, "each of attention must be a whole number of at least 1 "),
        ({"seed": -1}, "seed must be a whole number of at least 0 "),
        ({"seed": 2**64}, r"seed must be below 2\*\*64"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"gradient_clip": 0}, "gradient_clip must be above 0"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1 \(got 1\.0\)"),
        ({"ema_decay": 1.0}, r"ema_decay must be at least 0 and below 1 \(got 1\.0\)"),
        ({"schedule": "sigmoid"}, "schedule must be 'linear' or 'cosine'"),
        ({"prediction": "score"}, "prediction must be"),
    ],
)
def test_bad_arguments_are_named(config, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(config, **change)


def test_numbers_of_numpy_are_plain_numbers_in_the_config(config):
    of_numpy = replace(
        config, steps=np.int64(4), learning_rate=np.float32(0.5), attention=[np.int32(8)]
    )
    assert of_numpy.to_json() == replace(config, learning_rate=0.5, attention=[8]).to_json()


def test_the_largest_seed_trains(config):
    assert len(list(train(replace(config, steps=1, seed=2**64 - 1, dropout=0.1)))) == 1


def test_a_network_leaves_the_generators_of_the_gpus_alone(config, monkeypatch):
    def reseeded(seed):
        raise AssertionError("the GPUs' generators were reseeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    with pytest.raises(AssertionError):
        torch.manual_seed(0)
    network, again = config.network().state_dict(), config.network().state_dict()
    other = replace(config, seed=1).network().state_dict()
    assert all(torch.equal(network[name], again[name]) for name in network)
    assert not all(torch.equal(network[name], other[name]) for name in network)


@pytest.mark.parametrize("out", ["", "run", "deep/run", "../photos", "../link/run"])
def test_out_among_the_photos_is_refused(tmp_path, out):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(ValueError, match=r"^out \(.*\) must not be in data \(.*photos\)"):
        TrainConfig(photos, photos / out)
    TrainConfig(photos, tmp_path / "photos of tigers")


def test_the_samples_of_a_run_are_no_photos_for_it(tmp_path):
    samples = tmp_path / "run" / "samples"
    samples.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^out \(.*\) must not be in data"):
        TrainConfig(samples, tmp_path / "run")
    TrainConfig(samples, tmp_path / "other run")


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_out_that_is_a_file_is_named(config, tmp_path, out):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NotADirectoryError, match=r"^out must be a folder, and .*file is a file: "):
        replace(config, out=tmp_path / out)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_images_must_fit_the_image_size(config, images):
    for wrong in (images[:, :, :8, :8], images.float()):
        with pytest.raises(ValueError, match=r"data must be uint8 \(N, 3, 16, 16\)"):
            next(train(replace(config, data=wrong)))


def test_missing_accelerate_says_what_to_install(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"pip install 'tigerdiff\[train\]'"):
        next(train(config))


# Several processes

RANKS = """
import os, sys, torch
from safetensors.torch import load_file, save_file
from tigerdiff.training import loop as training
from tigerdiff.training import examples, run as running
rank, original, seen = os.environ["RANK"], training.diffusion_loss, {}
def recording(model, schedule, x0, t, eps, condition):
    k = len(seen) // 4
    group = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
    seen[f"timeout {k}"] = torch.tensor(group.options._timeout.total_seconds())
    seen.update({f"x0 {k}": x0.clone(), f"t {k}": t.clone(), f"eps {k}": eps.clone()})
    return original(model, schedule, x0, t, eps, condition)
training.diffusion_loss = recording
data, out = sys.argv[1:]
images = data if data == "painted" else load_file(data)["images"]
config = training.TrainConfig(images, out, image_size=16, steps=3, batch_size=4,
    channels=8, blocks=1, warmup_steps=3, learning_rate=1e-3, sample_every=0, checkpoint_every=2)
losses = [record.loss for record in training.train(config)]
save_file(seen | {"losses": torch.tensor(losses)}, f"{out}.{rank}")
"""


@pytest.mark.parametrize("source", ["images", "painted"])
def test_two_processes_share_one_batch_and_no_noise(config, images, tmp_path, source):
    data, out, script = tmp_path / "images.safetensors", tmp_path / "two", tmp_path / "ranks.py"
    save_file({"images": images}, data)
    if source == "painted":
        data, config = "painted", replace(config, data="painted")
    script.write_text(RANKS)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]  # any free port
    process = subprocess.Popen(
        [sys.executable, *launcher, *rendezvous, script, data, out],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        err = process.communicate(timeout=200)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err[-4000:]
    mine, theirs = load_file(f"{out}.0"), load_file(f"{out}.1")
    assert torch.equal(mine["losses"], theirs["losses"])  # the mean over both
    assert mine["timeout 0"] == theirs["timeout 0"] == 2 * 60 * 60
    for k in range(3):
        assert not torch.equal(mine[f"eps {k}"], theirs[f"eps {k}"])
        assert not torch.equal(mine[f"eps {k}"], mine[f"eps {(k + 1) % 3}"])
        t = torch.cat([mine[f"t {k}"], theirs[f"t {k}"]])
        assert torch.equal(t, stratified_times(1000, 4, seeded_generator(0, k + 1, 0, 0)))
        assert ((t.sort().values - 1) // 250).tolist() == [0, 1, 2, 3]
    # Together they see the images of one process with the whole batch.
    alone = []
    name = "painted_batches" if source == "painted" else "batches"
    original = getattr(examples, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            examples, name,
            lambda *a, **k: (alone.append(x.clone()) or x for x in original(*a, **k)),
        )  # fmt: skip
        list(train(replace(config, steps=3)))
    for k in range(3):
        assert torch.equal(torch.cat([mine[f"x0 {k}"], theirs[f"x0 {k}"]]), alone[k])
    # One of them wrote, and what it wrote can be resumed by a single process.
    (record,) = train(replace(config, out=out, steps=4, resume=True))
    assert record.step == 4


def test_a_batch_that_cannot_be_shared_is_refused(config, monkeypatch):
    class Three:
        process_index, num_processes, device = 0, 3, torch.device("cpu")

    monkeypatch.setattr(running, "make_accelerator", lambda device: Three)
    with pytest.raises(ValueError, match="batch_size must be divisible by the 3 processes"):
        next(train(config))
