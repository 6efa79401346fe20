"""Runs that are followed, interrupted, stopped, resumed, refused and short of disk."""

import csv
import errno
import json
import os
import shutil
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tigerdiff.data.tensors import seeded_generator, to_uint8
from tigerdiff.diffusion import make_schedule
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.training import checkpoints as runs
from tigerdiff.training import folder as lock
from tigerdiff.training import loop as training
from tigerdiff.training import machine, run
from tigerdiff.training.ema import EMA
from tigerdiff.training.folder import COLUMNS
from tigerdiff.training.loop import diffusion_loss, drop_condition, train
from tigerdiff.unet import UNet

SIZE = 16


def left_in(out):
    """What a refused run must not change."""
    return (out / "log.csv").read_text(), (out / "config.json").read_text()


def logged(out):
    with (out / "log.csv").open() as file:
        return [(int(row["step"]), row["loss"]) for row in csv.DictReader(file)]


def counting(monkeypatch, at, effect):
    """Let the loss of the call number ``at`` have an effect."""
    calls = []

    def loss(*arguments):
        calls.append(1)
        return (
            effect(diffusion_loss(*arguments)) if len(calls) == at else diffusion_loss(*arguments)
        )

    monkeypatch.setattr(training, "diffusion_loss", loss)


def interrupt(*_, **__):
    raise KeyboardInterrupt


# Training


def test_it_learns_one_batch_by_heart(config):
    edges = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    edges[:, :, :, SIZE // 2 :] = 255
    learning = replace(
        config, data=edges, steps=70, batch_size=16, channels=16, warmup_steps=5,
        learning_rate=4e-3, prediction="eps", schedule="linear", checkpoint_every=1000,
    )  # fmt: skip
    losses = [record.loss for record in train(learning)]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert sum(losses[-5:]) / 5 < 0.2


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


def test_each_update_is_adamw_with_warm_up_and_clipped_gradients(config, monkeypatch):
    """The same weights as torch's own optimiser reaches from what the loss was given."""
    given = []

    def recording(model, schedule, x0, t, eps, condition):
        given.append((x0.clone(), t.clone(), eps.clone()))
        return diffusion_loss(model, schedule, x0, t, eps, condition)

    monkeypatch.setattr(training, "diffusion_loss", recording)
    monkeypatch.setattr(machine, "precision_on", lambda device: "no")
    clipped = replace(config, gradient_clip=1e-6)  # small enough that AdamW's epsilon shows it
    list(train(clipped))
    network, schedule = clipped.network(), make_schedule(config.schedule, config.T)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99))
    for k, (x0, t, eps) in enumerate(given, 1):
        optimizer.zero_grad()
        diffusion_loss(network, schedule, x0, t, eps).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1e-6)
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1, k / config.warmup_steps)
        optimizer.step()
    trained = load_file(runs.find_checkpoint(config.out) / "model.safetensors")
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-4, atol=1e-7, msg=name)


def test_the_same_seed_gives_the_same_run_and_leaves_the_global_generator_alone(config, tmp_path):
    torch.manual_seed(5)
    first = [record.loss for record in train(config)]
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert first == [record.loss for record in train(replace(config, out=tmp_path / "b"))]
    other = replace(config, out=tmp_path / "c", seed=2**64 - 1, dropout=0.1)
    assert first != [record.loss for record in train(other)]


def test_a_compiled_network_learns_the_same(config, tmp_path, monkeypatch):
    """Through torch's own tracing, without the C++ compiler, which a machine need not have."""
    plain = [record.loss for record in train(config)]
    traced = []

    def compile_(network):
        traced.append(network)
        torch.nn.Module.compile(network, backend="eager", fullgraph=True)

    monkeypatch.setattr(UNet, "compile", compile_)
    monkeypatch.setattr(run, "check_compiler", lambda: None)
    compiled = replace(config, out=tmp_path / "compiled", compile=True)
    assert [record.loss for record in train(compiled)] == pytest.approx(plain, rel=1e-3)
    assert len(traced) == 1
    names = [load_file(folder / "checkpoints/step-000004/model.safetensors").keys() for folder in
             (config.out, compiled.out)]  # fmt: skip
    assert names[0] == names[1]


def test_a_sample_grid_is_drawn_while_it_trains(config):
    for record in train(replace(config, sample_every=3, T=10)):
        if record.step == 3:
            with Image.open(config.out / "samples" / "step-000003.png") as grid:
                grid.verify()
                assert grid.format == "PNG"
                assert grid.size == (4 * (SIZE + 2) + 2, 4 * (SIZE + 2) + 2)
    names = sorted(path.name for path in (config.out / "samples").iterdir())
    assert names == ["step-000003.png", "step-000004.png"]


def test_skipped_photos_are_named_in_the_log(config, images, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(images[:3]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    (folder / "broken tiger.jpg").write_bytes(b"not a picture")
    names = ["broken tiger.jpg"]
    try:  # a name that is not UTF-8, on file systems that take it
        (folder / os.fsdecode(b"torn\xff.jpg")).write_bytes(b"not a picture")
        names.append("torn\\udcff.jpg")
    except OSError:
        pass
    list(train(replace(config, data=folder, steps=1)))
    log = (config.out / "log.txt").read_text(encoding="utf-8")
    assert all(name in log for name in names)
    assert "Logging error" not in capsys.readouterr().err
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 3


# Resume


def test_resume_is_exact(config, tmp_path, assert_equal_bits):
    for i, change in enumerate([{"dropout": 0.3}, {"data": "painted", "conditional": True}]):
        whole = replace(config, out=tmp_path / f"one{i}", steps=8, checkpoint_every=4, **change)
        losses = [record.loss for record in train(whole)]
        half = replace(whole, out=tmp_path / f"two{i}", steps=4)
        first = [record.loss for record in train(half)]
        torch.manual_seed(123)  # a new process has another global state
        second = [record.loss for record in train(replace(half, steps=8, resume=True))]
        assert first + second == losses
        assert_equal_bits(
            whole.out / "checkpoints/step-000008", half.out / "checkpoints/step-000008"
        )


def test_a_resumed_run_takes_what_may_change(config, images):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        next(train(replace(config, resume=True)))
    list(train(config))
    assert list(train(replace(config, resume=True))) == []
    (record,) = train(replace(config, steps=5, resume=True, learning_rate=1e-4))
    assert record.learning_rate == 1e-4
    log = config.out / "log.txt"
    assert log.read_text() == ""
    list(train(replace(config, data=images.flip(0), steps=5, resume=True)))
    assert "data holds 12 images as before, but other ones" in log.read_text()
    list(train(replace(config, data=images[:5], steps=6, resume=True)))
    assert "data holds 5 images now and held 12 before" in log.read_text()


def test_resume_refuses_classes_in_another_order(config):
    classes = {"a": ["x", "y"], "b": ["x", "y"]}
    labelled = replace(config, classes=classes, labels=torch.zeros(12, 2, dtype=torch.int64))
    list(train(labelled))
    turned = dict(reversed(classes.items()))
    with pytest.raises(ValueError, match="^classes is .* but the run in .* has"):
        next(train(replace(labelled, steps=6, resume=True, classes=turned)))
    assert len(list(train(replace(labelled, steps=6, resume=True)))) == 2


def test_resume_says_whether_the_run_was_conditional(config):
    labelled = replace(config, classes={"a": ["x", "y"]}, labels=torch.zeros(12, 1).long())
    list(train(labelled))
    with pytest.raises(ValueError, match="is conditional: resume with conditional$"):
        next(train(replace(config, steps=6, resume=True)))
    list(train(replace(config, out=config.out / "b")))
    with pytest.raises(ValueError, match="is unconditional: resume without conditional$"):
        next(train(replace(labelled, out=config.out / "b", steps=6, resume=True)))


def test_resume_names_other_labels(config):
    labels = torch.zeros(12, 1).long()
    labelled = replace(config, classes={"a": ["x", "y"]}, labels=labels)
    list(train(labelled))
    log = config.out / "log.txt"
    list(train(replace(labelled, labels=1 - labels, steps=5, resume=True)))
    assert "data holds 12 images as before, but with other labels" in log.read_text()


def test_resume_of_photos_with_painted_tigers_warns(config):
    list(train(replace(config, steps=3)))
    next(train(replace(config, data="painted", steps=4, resume=True)))
    assert "data holds 12 images as before, but other ones" in (config.out / "log.txt").read_text()


def test_resume_with_fewer_steps_than_are_done_is_refused(config):
    list(train(config))
    before = (config.out / "config.json").read_bytes()
    with pytest.raises(ValueError, match="^steps is 2, counted from the very start, .* at step 4"):
        next(train(replace(config, steps=2, resume=True)))
    assert (config.out / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", '{"my": 1}'), ("log.csv", "date,kg\n2024,5\n")]
)
def test_what_is_not_of_a_run_is_not_replaced(config, name, text):
    config.out.mkdir()
    (config.out / name).write_text(text)
    with pytest.raises(FileExistsError, match=f"{name} is of no training run: choose another out"):
        next(train(config))
    assert (config.out / name).read_text() == text and not (config.out / "log.txt").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b"3,", b"x,"),
        lambda text: text.replace(b",", b";"),
        lambda text: text.replace(b"step", b"st\xe9p"),
    ],
)
def test_a_log_that_a_spreadsheet_has_damaged_is_kept_and_the_run_goes_on(config, damage):
    list(train(config))
    damaged = damage((config.out / "log.csv").read_bytes())
    (config.out / "log.csv").write_bytes(damaged)
    more = list(train(replace(config, steps=6, resume=True)))
    assert [record.step for record in more] == [5, 6]
    assert (config.out / "log-damaged-000004.csv").read_bytes() == damaged
    assert [step for step, _ in logged(config.out)] == [5, 6]
    assert "log.csv cannot be read" in (config.out / "log.txt").read_text()


def test_a_schedule_that_cannot_be_trained_with_leaves_no_folder(config):
    with pytest.raises(ValueError, match="T must be"):
        next(train(replace(config, schedule="linear", T=10)))
    assert not config.out.exists()


def test_a_checkpoint_of_an_older_tigerdiff_is_resumed(config):
    """Its state has no classes, no content and no scaler, and names fewer arguments."""
    list(train(config))
    path = runs.find_checkpoint(config.out) / "state.json"
    state = json.loads(path.read_text())
    for part, names in (("network", ["classes"]), ("config", ["classes", "conditional", "device"])):
        for name in names:
            del state[part][name]
    del state["content"], state["scaler"]
    path.write_text(json.dumps(state))
    (record,) = train(replace(config, steps=5, resume=True))
    assert record.step == 5
    assert (config.out / "log.txt").read_text() == ""


def test_resume_refuses_another_run_and_changes_nothing(config, tmp_path):
    list(train(config))
    before = left_in(config.out)
    changes = {"batch_size": 6, "seed": 1, "schedule": "linear", "channels": 16, "dropout": 0.1}
    for name, value in changes.items():
        with pytest.raises(ValueError, match=f"^{name} is .* but the run in .* has"):
            next(train(replace(config, steps=9, resume=True, **{name: value})))
    with pytest.raises(FileNotFoundError, match="no photos does not exist"):
        next(train(replace(config, data=tmp_path / "no photos", resume=True)))
    with pytest.raises(FileExistsError, match=r"step-000004.*--resume"):
        next(train(replace(config, steps=9)))
    assert left_in(config.out) == before


def test_painted_tigers_are_trained_on_in_their_order_each_once(config, monkeypatch):
    seen = []

    def recording(model, schedule, x0, t, eps, condition):
        seen.append(to_uint8(x0))
        labels.extend(condition.tolist())
        return diffusion_loss(model, schedule, x0, t, eps, condition)

    labels = []
    monkeypatch.setattr(training, "diffusion_loss", recording)
    part = replace(config, data="painted", seed=3, steps=3, conditional=True, condition_dropout=0.0)
    list(train(part))
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 3 * 4
    list(train(replace(part, steps=5, resume=True)))
    images, tigers = procedural_tigers(20, SIZE, 3)
    assert torch.equal(torch.cat(seen), images)
    words = part.network().classes
    assert labels == [[words[n].index(getattr(tiger, n)) for n in words] for tiger in tigers]
    assert runs.read_state(runs.find_checkpoint(config.out))["images"] == 5 * 4
    assert (config.out / "log.txt").read_text() == ""


def test_labels_reach_the_loss_with_their_images(config, images, monkeypatch):
    seen = []

    def recording(model, schedule, x0, t, eps, condition):
        seen.append((to_uint8(x0), condition))
        return diffusion_loss(model, schedule, x0, t, eps, condition)

    monkeypatch.setattr(training, "diffusion_loss", recording)
    labels = torch.arange(24).reshape(12, 2) % 3
    asked = replace(
        config, classes={"a": [*"xyz"], "b": [*"xyz"]}, labels=labels, condition_dropout=0.25
    )
    list(train(asked))
    both = torch.cat([images, images.flip(-1)])
    for k, (x0, condition) in enumerate(seen, 1):
        of = [int((both == image).flatten(1).all(1).nonzero()[0]) % 12 for image in x0]
        u = torch.rand(4, 1 + 2, generator=seeded_generator(asked.seed, k, 1, 2))
        assert torch.equal(condition, drop_condition(labels[of], 0.25, u))
    assert any((condition == -1).any() for _, condition in seen)


def test_photos_are_mirrored_unless_left_matters(config, images, monkeypatch):
    seen = []

    def recording(model, schedule, x0, *rest):
        seen.append(to_uint8(x0))
        return diffusion_loss(model, schedule, x0, *rest)

    monkeypatch.setattr(training, "diffusion_loss", recording)
    for flip in (True, False):
        seen.clear()
        list(train(replace(config, flip=flip, out=f"{config.out}-{flip}")))
        as_they_are = [any(torch.equal(x, image) for image in images) for x in torch.cat(seen)]
        assert all(as_they_are) != flip


# Interruption


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
    counting(monkeypatch, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(train(replace(config, steps=9, checkpoint_every=100)))
    assert runs.find_checkpoint(config.out).name == "step-000003"


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


def test_steps_of_an_interrupted_stretch_reach_the_log(config, tmp_path, monkeypatch):
    whole = replace(config, steps=9)
    losses = [f"{record.loss:.6g}" for record in train(whole)]
    counting(monkeypatch, 8, interrupt)
    # As on a GPU: losses are fetched for several steps at a time.
    monkeypatch.setattr(run, "is_due", lambda every, step, last: step in (5, last))
    part = replace(whole, out=tmp_path / "part", checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        list(train(part))
    assert runs.find_checkpoint(part.out).name == "step-000007"
    assert logged(part.out) == list(enumerate(losses[:7], 1))
    list(train(replace(part, resume=True)))
    assert logged(part.out) == list(enumerate(losses, 1))


def test_a_stop_saves_and_ends_also_while_a_grid_is_drawn(config, tmp_path, monkeypatch):
    stop, times = threading.Event(), []
    for record in train(replace(config, steps=50, checkpoint_every=100), stop):
        if record.step == 3:
            stop.set()
    assert record.step == 4
    assert runs.find_checkpoint(config.out).name == "step-000004"

    def slowly(*arguments, **options):
        for step in ddim(*arguments, **options):
            times.append(step.t)
            if len(times) == 3:
                stop.set()
            yield step

    ddim = run.ddim
    monkeypatch.setattr(run, "ddim", slowly)
    stop.clear()
    drawing = replace(config, out=tmp_path / "b", steps=9, checkpoint_every=100, sample_every=2)
    assert [record.step for record in train(drawing, stop)] == [1, 2]
    assert len(times) == 3
    assert len(list(train(replace(drawing, out=tmp_path / "c", sample_every=1), stop))) == 1
    for out, step in (("b", "step-000002"), ("c", "step-000001")):
        assert runs.find_checkpoint(tmp_path / out).name == step
        assert not (tmp_path / out / "samples").exists()


def test_an_interrupt_while_a_grid_is_drawn_saves(config, monkeypatch):
    monkeypatch.setattr(run, "ddim", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(train(replace(config, checkpoint_every=100, sample_every=1)))
    assert runs.find_checkpoint(config.out).name == "step-000001"
    assert len(logged(config.out)) == 1


# Trouble


def test_a_run_that_diverged_can_be_resumed_with_a_lower_rate(config, monkeypatch, tensors):
    counting(monkeypatch, 4, lambda loss: loss * float("nan"))
    with pytest.raises(FloatingPointError, match="at step 4: continue from step-000002 .*a lower"):
        list(train(replace(config, steps=9)))
    weights = tensors(runs.find_checkpoint(config.out))
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    more = list(train(replace(config, steps=9, resume=True, learning_rate=5e-4)))
    assert [record.step for record in more] == list(range(3, 10))
    assert more[-1].learning_rate == 5e-4


def test_a_checkpoint_that_a_divergence_has_ruined_is_not_advised(config, monkeypatch):
    counting(monkeypatch, 2, lambda loss: loss + 1e6)
    list(train(replace(config, steps=2)))
    counting(monkeypatch, 1, lambda loss: loss * float("nan"))
    with pytest.raises(FloatingPointError, match="at step 3: start again in another folder, with"):
        list(train(replace(config, resume=True)))


def test_the_checkpoint_before_a_ruined_one_is_advised_and_is_enough_to_resume(config, monkeypatch):
    list(train(replace(config, steps=2)))
    counting(monkeypatch, 2, lambda loss: loss + 1e6)
    list(train(replace(config, steps=4, resume=True)))
    counting(monkeypatch, 1, lambda loss: loss * float("nan"))
    said = "at step 5: delete step-000004, .* continue from step-000002 with --resume"
    with pytest.raises(FloatingPointError, match=said):
        list(train(replace(config, steps=6, resume=True)))
    shutil.rmtree(config.out / "checkpoints" / "step-000004")
    counting(monkeypatch, 1, lambda loss: loss)
    more = list(train(replace(config, steps=6, resume=True, learning_rate=1e-4)))
    assert [record.step for record in more] == [3, 4, 5, 6]


def test_a_gradient_that_is_not_finite_ends_the_run_too(config, monkeypatch):
    def exploding(model, *arguments):
        loss = diffusion_loss(model, *arguments)
        next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr(training, "diffusion_loss", exploding)
    with pytest.raises(FloatingPointError, match="at step 1: start again in another folder"):
        list(train(config))
    assert runs.complete_checkpoints(config.out) == []


make_accelerator = run.make_accelerator


def test_an_overflow_in_float16_skips_its_step_and_a_resume_keeps_the_scale(
    config, tmp_path, monkeypatch, tensors
):
    class Scaled:
        """An accelerator on the CPU that scales gradients as on a GPU, and overflows at first."""

        def __init__(self, device):
            self.inner = make_accelerator(device)
            self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, growth_interval=3)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def prepare(self, part):
            if isinstance(part, torch.optim.Optimizer):
                self.optimizer = ScaledOptimizer(part, self.scaler)
                return self.optimizer
            return self.inner.prepare(part)

        def backward(self, loss):
            self.scaler.scale(loss).backward()

        def clip_grad_norm_(self, parameters, largest):
            self.scaler.unscale_(self.optimizer.optimizer)
            return torch.nn.utils.clip_grad_norm_(parameters, largest)

    class ScaledOptimizer:
        def __init__(self, optimizer, scaler):
            self.optimizer, self.scaler = optimizer, scaler

        def __getattr__(self, name):
            return getattr(self.optimizer, name)

        def step(self):
            self.scaler.step(self.optimizer)
            self.scaler.update()

    monkeypatch.setattr(run, "make_accelerator", Scaled)
    counting(monkeypatch, 2, lambda loss: loss * 1e12)
    start = replace(config, steps=9, checkpoint_every=3)
    records = list(train(start))
    folder = runs.find_checkpoint(config.out)
    assert tensors(folder)["optimizer: stem.weight/step"] == 8  # one was skipped
    scaler = runs.read_state(folder)["scaler"]
    assert (scaler["scale"], scaler["_growth_tracker"]) == (2.0**101, 1)
    counting(monkeypatch, 2, lambda loss: loss * 1e12)
    part = replace(start, out=tmp_path / "part", steps=6)
    list(train(part))
    more = list(train(replace(part, steps=9, resume=True)))
    assert [record.loss for record in more] == [record.loss for record in records[6:]]
    counting(monkeypatch, 2, lambda loss: loss * float("nan"))
    with pytest.raises(FloatingPointError, match="at step 2"):
        list(train(replace(config, out=tmp_path / "nan")))


def test_a_second_run_is_refused_before_it_touches_anything(config, monkeypatch):
    records = train(replace(config, steps=9))
    next(records)
    before = left_in(config.out)
    locked = lock.FileLock(config.out / ".lock")  # as of another process
    with pytest.raises(lock.Timeout):
        locked.acquire(timeout=0)
    assert "by process" in lock.described(config.out / ".owner.json")
    monkeypatch.setattr(lock, "FileLock", lambda *a, is_singleton, **k: locked.__class__(*a, **k))
    with pytest.raises(FileExistsError, match=r"is in use by process \d+ on .* for 0 minutes: "):
        next(train(replace(config, channels=16)))
    assert left_in(config.out) == before
    records.close()
    assert not (config.out / ".owner.json").exists()
    assert len(list(train(replace(config, steps=3, resume=True)))) == 2


def test_a_notebook_may_start_its_cell_again(config):
    """The run that the first call left in the middle is of the same process."""
    abandoned = train(config)
    next(abandoned)
    assert len(list(train(replace(config, steps=3)))) == 3
    abandoned.close()


def test_a_full_disk_is_one_sentence_and_keeps_the_checkpoint_before(
    config, tmp_path, monkeypatch, assert_equal_bits
):
    def full(path, data):
        if "step-000002" in os.listdir(config.out / "checkpoints"):
            write(path, b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    write = Path.write_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="step-000004 cannot be written .*: step-000002 is kept"):
            list(train(replace(config, steps=6)))
    assert os.listdir(config.out / "checkpoints") == ["step-000002"]
    list(train(replace(config, steps=6, resume=True)))
    whole = replace(config, out=tmp_path / "whole", steps=6)
    list(train(whole))
    assert_equal_bits(config.out / "checkpoints/step-000006", whole.out / "checkpoints/step-000006")


def test_a_resumed_run_keeps_no_file_open_that_it_will_delete(config):
    """Windows and network disks refuse to delete it."""
    list(train(replace(config, steps=2)))
    resumed = train(replace(config, steps=6, resume=True))
    next(resumed)
    mapped = Path("/proc/self/maps")  # only Linux has it
    assert not mapped.exists() or f"{config.out.name}/checkpoints" not in mapped.read_text()
    resumed.close()


def test_a_disk_too_full_for_a_line_of_the_log_is_one_sentence_too(config, monkeypatch):
    def full(self, records, seconds):
        if records[0].step == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run.RunLog, "write", full)
    with pytest.raises(OSError, match="^the disk of .*run is full: step-000002 is kept; make room"):
        list(train(config))


def test_a_disk_that_cannot_sync_folders_will_do(config, monkeypatch):
    def refusing(number):
        def fsync(handle):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(number, os.strerror(number))

        return fsync

    for number in (errno.EINVAL, errno.ENOTSUP):
        monkeypatch.setattr(runs.os, "fsync", refusing(number))
        list(train(config))
        shutil.rmtree(config.out)
    monkeypatch.setattr(runs.os, "fsync", refusing(errno.EIO))  # a disk that fails
    with pytest.raises(OSError, match="cannot be written"):
        list(train(config))


def test_a_batch_that_cannot_be_shared_is_refused(config, monkeypatch):
    class Three:
        process_index, num_processes, device = 0, 3, torch.device("cpu")

    monkeypatch.setattr(run, "make_accelerator", lambda device: Three)
    with pytest.raises(ValueError, match="batch_size must be divisible by the 3 processes"):
        next(train(config))
