"""Checkpoints: whole or not there, few, loaded as they were, and named where they are damaged."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tigerdiff.diffusion import NoiseSchedule
from tigerdiff.training import checkpoints as runs
from tigerdiff.training.ema import EMA
from tigerdiff.training.loop import train


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


def test_a_copy_of_a_checkpoint_is_none(config):
    """As a file manager names it; it neither counts as the newest nor as one that stays."""
    list(train(config))
    checkpoints = config.out / "checkpoints"
    for name in ("step-000002 copy", "step-000002-good"):
        shutil.copytree(checkpoints / "step-000002", checkpoints / name)
    assert runs.find_checkpoint(config.out).name == "step-000004"
    list(train(replace(config, steps=6, resume=True, keep_last=1)))
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        "step-000002 copy",
        "step-000002-good",
        "step-000006",
    ]
    shutil.rmtree(checkpoints / "step-000006")
    with pytest.raises(FileExistsError, match=r"holds a run already \(step-000002"):
        next(train(config))  # it would empty the log


def test_weights_that_another_program_left_are_not_replaced(config):
    folder = config.out / "checkpoints/step-000002"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds a run already \(step-000002"):
        next(train(config))
    assert (folder / "model.pt").read_text() == "precious"


def test_an_old_checkpoint_that_is_a_link_stays(config):
    list(train(config))
    kept = config.out / "checkpoints/step-000002"
    elsewhere = config.out / "good"
    kept.rename(elsewhere)
    kept.symlink_to(elsewhere)
    list(train(replace(config, steps=6, resume=True, keep_last=1)))
    assert kept.is_symlink() and (elsewhere / "state.json").exists()
    assert runs.find_checkpoint(config.out).name == "step-000006"


def test_a_place_that_cannot_hold_checkpoints_is_refused_at_once(config):
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "checkpoints").touch()
    with pytest.raises(PermissionError, match="checkpoints must be a folder to write to"):
        replace(config)


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


def test_a_save_that_fails_takes_nothing_with_it(config, monkeypatch, tensors):
    list(train(config))
    before = tensors(runs.find_checkpoint(config.out))

    def full_disk(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(runs.os, "replace", full_disk)
    model = config.network()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(
        OSError, match="step-000005 cannot be written .No space left on device.: step-000004"
    ):
        runs.save_checkpoint(
            config.out, model, EMA(model), optimizer, step=5, config=config.to_json(), images=1
        )
    after = tensors(runs.find_checkpoint(config.out))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_complete_checkpoint_is_not_written_again(config):
    list(train(config))
    folder = runs.find_checkpoint(config.out)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    model = config.network()
    optimizer = torch.optim.AdamW(model.parameters())
    again = runs.save_checkpoint(
        config.out, model, EMA(model), optimizer, step=4, config=config.to_json(), images=1
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
    with pytest.raises(ValueError, match="has format 2"):
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
        r"ema\.safetensors is damaged \(its weights do not fit the network",
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
        r"ema\.safetensors is damaged \(its weights do not fit the network",
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


def test_a_damaged_checkpoint_is_named(config, tmp_path):
    list(train(replace(config, steps=1)))
    for kind, (damage, sentence) in LOADED.items():
        out = tmp_path / kind
        shutil.copytree(config.out, out)
        damage(runs.find_checkpoint(out))
        with pytest.raises(ValueError, match=sentence) as error:
            runs.load_checkpoint(out)
        assert "\n" not in str(error.value)
        shutil.rmtree(out)
    for kind, (damage, sentence) in RESUMED.items():
        out = tmp_path / kind
        shutil.copytree(config.out, out)
        damage(runs.find_checkpoint(out))
        before = (out / "log.csv").read_text(), (out / "config.json").read_text()
        with pytest.raises(ValueError, match=sentence) as error:
            next(train(replace(config, out=out, resume=True)))
        assert "\n" not in str(error.value)
        assert ((out / "log.csv").read_text(), (out / "config.json").read_text()) == before
