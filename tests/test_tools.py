"""The scripts that measure what is shipped, with a network small enough for a test."""

import json
import sys
from pathlib import Path

import measure_photos
import measure_weights
import nbformat
import pytest
import report
import simulate_colab
import time_weights
import torch
import train_pixels
import weights_rows
from PIL import Image

from tigerdiff import UNet, load_checkpoint, load_pretrained, procedural_tigers, save_pretrained
from tigerdiff.devices import LIMITS
from tigerdiff.tigers.tiger import CHOICES

ROOT = Path(__file__).parent.parent


def test_floats_are_rounded_at_any_depth_and_nothing_else():
    found = report.rounded(
        {"a": [1.23456, {"b": 9.87654e-9}], "c": 123456, "d": None, "e": "1.23456"}
    )
    assert found == {"a": [1.235, {"b": 9.877e-9}], "c": 123456, "d": None, "e": "1.23456"}


def test_a_result_says_that_the_machine_played_a_laptop(monkeypatch):
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert "AVX2" not in report.hardware() or torch.cuda.is_available()
    assert report.machine()["laptop"] is False
    monkeypatch.setenv(LIMITS[0], "avx2")
    assert report.machine()["laptop"] is True
    assert report.machine()["bfloat16"] is False or torch.cuda.is_available()


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measure an untrained conditional network of 16 pixels; returns its folder and the results."""
    torch.manual_seed(0)
    classes = {name: CHOICES[name] for name in ("fur", "mouth")}
    model = UNet(16, channels=8, multipliers=(1, 2), classes=classes)
    folder, out = tmp_path / "weights", tmp_path / "results.json"
    save_pretrained(model, folder, card={"data": "painted", "seed": 5, "images": 24, "tigers": 24})
    monkeypatch.setattr(weights_rows, "FEW", {"ddim": (100,), "dpm_solver": (2,), "ddpm": (2,)})
    monkeypatch.setattr(weights_rows, "MANY", {"ddim": (3,)})
    monkeypatch.setattr(weights_rows, "MISTAKEN", {"ddim": 2, "ddpm": 2})
    counts = ["-n", "21", "--n-many", "20", "--n-mistakes", "20", "--n-large", "22"]
    command = ["measure_weights.py", "any", *counts, "--folder", str(folder), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    measure_weights.main()
    return folder, out


def test_a_conditional_network_is_measured_and_its_card_written(measured, capsys):
    folder, out = measured
    result, card = json.loads(out.read_text()), json.loads((folder / "card.json").read_text())
    assert result["weights_sha256"] == card["sha256"]
    assert {row["n"] for row in result["floor"]} == {20, 21, 22}
    assert [row["guidance_scale"] for row in result["guidance"]] == [1, 2, 3]
    assert all(0 <= row["all"] <= min(row["fur"], row["mouth"]) for row in result["guidance"])
    assert result["copies"]["among"] == 48 and result["copies"]["fresh"]["median_score"] == 1
    assert sum(result["shares"]["drawn"]["fur"].values()) == pytest.approx(1, abs=1e-3)
    titles = {"ddim 100", "dpm_solver 2", "ddpm 2", "ddim 3", "ddim 2 eta 0.5", "guidance 2"}
    titles |= {"real to real 20", "real to real 22", "ddim 50, 22 pictures"}
    assert titles <= card["measures"].keys()
    assert card["measures"]["ddim 100"].keys() >= {"frechet", "kernel", "seconds_per_image"}
    assert card["measures"]["ddim 100"]["repeated"] == 0 < card["measures"]["ddpm 2"]["repeated"]
    assert card["mistakes"].keys() >= {"none, ddim", "none, ddpm", "no noise", "uniform start"}
    assert card["seed"] == 5, "what the training wrote stays"

    capsys.readouterr()
    measure_weights.main()
    assert capsys.readouterr().out == "", "a second call measures nothing again"


def test_a_run_starts_from_another_and_its_card_counts_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_pixels, "MODELS", {"small": (16, 8, (1, 2))})
    monkeypatch.setattr(train_pixels, "TIGERS", 8)
    monkeypatch.setattr(train_pixels, "WEIGHTS", tmp_path / "weights")

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["train_pixels.py", "small", *map(str, options)])
        train_pixels.main()
        return json.loads((tmp_path / "weights/small/card.json").read_text())

    one = run("--steps", 2, "--out", "one")
    assert (one["steps"], one["images_seen"]) == (2, 64)
    before, _ = load_pretrained(tmp_path / "weights/small")
    run("--steps", 1, "--out", "two", "--start-from", "one", "--condition-dropout", 0.5)
    start, _ = load_checkpoint(tmp_path / "two/checkpoints/step-000000")
    for a, b in zip(before.parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b.half().float())
    two = json.loads((tmp_path / "weights/small/card.json").read_text())
    assert (two["steps"], two["images_seen"]) == (3, 96)
    assert two["stages"] == [
        {"steps": 2, "learning_rate": [0.001, 0.0005], "condition_dropout": 0.1},
        {"steps": 1, "learning_rate": [0.001, 0.001], "condition_dropout": 0.5},
    ]
    assert run("--steps", 1, "--out", "two", "--condition-dropout", 0.5)["steps"] == 3


def test_photos_are_learned_and_measured_and_a_second_call_goes_on(tmp_path, monkeypatch, capfd):
    images, _ = procedural_tigers(20, 16)
    (tmp_path / "data").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"data/{i:02d}.png")
    monkeypatch.chdir(tmp_path)
    for name, value in {"SIZE": 16, "CHANNELS": 8, "MULTIPLIERS": (1, 2), "TIMES": 4}.items():
        monkeypatch.setattr(measure_photos, name, value)
    monkeypatch.setattr(sys, "argv", ["x", "data", "-n", "3", "--result", "photos.json"])
    for at in ((1,), (1, 3)):
        monkeypatch.setattr(measure_photos, "AT", at)
        measure_photos.main()
        result = json.loads(Path("photos.json").read_text())
        assert (result["seen"], result["held_out"]) == (18, 2)
        assert [row["steps"] for row in result["rows"]] == list(at)
        assert capfd.readouterr().out.count("loss_seen") == 1, "the first row is kept"
    assert all(0 < row["loss_held_out"] < 2 for row in result["rows"])


def test_copies_are_told_from_new_pictures():
    images, _ = procedural_tigers(80, 16)
    seen, new = images[:60], images[60:]
    noisy = (seen[:10].int() + torch.randint(-4, 5, seen[:10].shape)).clamp(0, 255).byte()
    assert measure_photos.copies(seen[:10], seen) == measure_photos.copies(noisy, seen) == 1
    assert measure_photos.copies(noisy.flip(-1), seen) == 1
    assert measure_photos.copies(new, seen) == 0
    assert measure_photos.copies(torch.cat([noisy, new[:10]]), seen) == 0.5


def test_a_model_is_timed_and_nothing_else_of_it_changes(measured, monkeypatch):
    folder, out = measured
    before = [json.loads(path.read_text()) for path in (out, folder / "card.json")]
    monkeypatch.setattr(sys, "argv", ["time_weights.py"])
    monkeypatch.setattr(weights_rows, "seconds", lambda *_: 0.25)
    time_weights.time_model(folder, out)
    result, card = (json.loads(path.read_text()) for path in (out, folder / "card.json"))
    assert card["timed"]["command"] == "python tools/time_weights.py"
    assert set(result["timed"]["seconds_per_call"].values()) == {0.25}
    rows = card["measures"]
    assert (rows["ddim 100"]["seconds_per_image"], rows["ddpm 2"]["seconds_per_image"]) == (25, 0.5)
    for entry in (*before[1]["measures"].values(), *rows.values()):
        entry.pop("seconds_per_image", None)
    assert {**before[0], "timed": None} == {**result, "timed": None}
    assert {**before[1], "timed": None} == {**card, "timed": None}
    (folder / "card.json").write_text(json.dumps(card | {"sha256": "another"}))
    with pytest.raises(SystemExit, match="other weights"):
        time_weights.time_model(folder, out)


CHAPTERS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_simulation_puts_the_wheel_in_place_of_the_address(path, tmp_path):
    wheel = tmp_path / "tigerdiff-1.0-py3-none-any.whl"
    colab, kaggle = (
        simulate_colab.prepare(path.stem, place, wheel, tmp_path).cells
        for place in ("colab", "kaggle")
    )
    colab, kaggle = ([c.source for c in x if c.cell_type == "code"] for x in (colab, kaggle))
    assert f'"tigerdiff[course] @ {wheel.as_uri()}"' in colab[0] and "git+" not in colab[0]
    assert f'glob("{tmp_path}/**/tigerdiff-*.whl"' in kaggle[0]
    assert colab[1:] == kaggle[1:]


def test_the_simulation_sees_a_slider_that_is_not_shown():
    new = nbformat.v4
    text = '<script type="application/json">{}</script>'
    html = new.new_output("display_data", {"text/html": text})
    cells = [
        new.new_code_cell("td.wipe(a, b)", outputs=[html]),
        new.new_code_cell("td.compare_slider(a)"),
        new.new_code_cell("td.show_images(a)"),
    ]
    assert simulate_colab.sliders(new.new_notebook(cells=cells)) == (2, [text])
