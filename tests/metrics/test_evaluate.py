"""``tigerdiff evaluate``: which pictures are measured, against which, and what is kept of it."""

import json
import re
import shutil
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image

from tigerdiff import cli
from tigerdiff.commands import pictures as _pictures
from tigerdiff.commands import results as _results
from tigerdiff.commands.pictures import (
    Pictures,
    folder_pictures,
    reference_pictures,
    training_pictures,
)
from tigerdiff.data import files as _files
from tigerdiff.data.painted import read_tigers, render_folder
from tigerdiff.drawing import sample
from tigerdiff.metrics import distances as metrics
from tigerdiff.metrics import judge as _judge
from tigerdiff.metrics import prompts
from tigerdiff.pretrained import load as pretrained
from tigerdiff.pretrained.load import export_run
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.training import checkpoints as runs
from tigerdiff.training import stored
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.loop import train

SIZE = 16


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    """A judge that has learned nothing: the sums are the same. And no real cache."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = _judge.Judge().eval().requires_grad_(False)
    for module in (metrics, prompts):
        monkeypatch.setattr(module, "shipped_judge", lambda device: untrained)
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(_files, "cache_home", lambda: home)


@pytest.fixture(scope="module")
def tigers(tmp_path_factory):
    """A rendered folder of 40 tigers; to be read only."""
    folder = tmp_path_factory.mktemp("rendered") / "tigers"
    render_folder(folder, 40, SIZE, 7, progress=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps on painted tigers of seed 4."""
    out = tmp_path_factory.mktemp("runs") / "painted"
    config = TrainConfig(
        "painted", out, image_size=SIZE, steps=3, batch_size=8, channels=8, blocks=1, T=50,
        sample_every=0, seed=4,
    )  # fmt: skip
    list(train(config))
    return out


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capfd):
    """Runs ``tigerdiff evaluate`` in a folder of its own; returns what is printed, and the JSON."""
    monkeypatch.chdir(tmp_path)

    def run(*words, out="evaluation.json"):
        monkeypatch.setattr(sys, "argv", ["tigerdiff", "evaluate", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        said, err = capfd.readouterr()
        if exit_.value.code:
            return err.strip().rpartition("\n")[2]
        return said, json.loads((tmp_path / out).read_text())

    return run


def expected(images, reference, known):
    distance, error = metrics.kernel_distance(images, reference)
    score = metrics.nearest_neighbours(images, known).score
    return {
        "frechet_distance": metrics.frechet_distance(images, reference),
        "kernel_distance": {"distance": distance, "standard_error": error},
        "nearest_neighbours": {
            "median_score": score.median().item(),
            "copies": (score < 0.5).double().mean().item(),
        },
    }


def painted(seed, n=40):
    return procedural_tigers(n, SIZE, seed)


def train_one_step(photos, out):
    """A run's folder, of a tiny network."""
    config = TrainConfig(
        photos, out, image_size=SIZE, steps=1, batch_size=4, channels=8, blocks=1, sample_every=0
    )
    list(train(config))


def test_a_folder_is_measured_against_new_tigers_and_beside_others(evaluate, tigers):
    said, results = evaluate("--images", tigers)
    images, truth = painted(7)
    reference, floor = painted(2_000_000_000), painted(2_000_000_001)
    for name, (pictures, asked) in {"pictures": (images, truth), "floor": floor}.items():
        found = results[name]
        assert found["prompt_accuracy"] == prompts.prompt_accuracy(pictures, asked)
        for word, share in found["shares"]["fur"].items():
            assert share == prompts.judge(pictures)["fur"].count(word) / len(pictures)
        for name, value in expected(pictures, reference[0], reference[0]).items():
            assert found[name] == value
    row = (
        f"{results['pictures']['frechet_distance']:.3f} +{results['floor']['frechet_distance']:.3f}"
    )
    assert re.search(rf"^Frechet distance +{row}$", said, re.MULTILINE)
    share = results["pictures"]["prompt_accuracy"]["mouth"]
    assert re.search(rf"^mouth as asked +{share:.1%} ", said, re.MULTILINE)
    assert f"pictures: {tigers}: 40 of 16 x 16 pixels\n" in said
    assert "evaluation.json" in said


def test_the_json_says_how_it_was_had(evaluate, tigers):
    results = evaluate("--images", tigers, "--seed", 3, "--device", "cpu")[1]
    assert results["command"] == f"tigerdiff evaluate --images {tigers} --seed 3 --device cpu"
    assert results["seed"] == 3
    age = datetime.now(timezone.utc) - datetime.fromisoformat(results["date"])
    assert timedelta(0) <= age < timedelta(minutes=5)
    assert results["versions"]["tigerdiff"] == version("tigerdiff")
    assert results["versions"]["torch"] == version("torch")
    assert results["hardware"].startswith("CPU, ")


def test_the_json_names_the_device_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"Tesla T4, {device}")
    for name, said in (("cpu", "CPU, "), ("cuda:1", "Tesla T4, cuda:1"), ("mps", "mps GPU")):
        made = _results.provenance("tigerdiff evaluate", 0, torch.device(name))
        assert made["hardware"].startswith(said)


def test_n_chooses_by_the_seed_and_keeps_pictures_and_attributes_together(tigers):
    few = [folder_pictures(tigers, 25, seed) for seed in (0, 0, 1)]
    assert torch.equal(few[0].images, few[1].images)
    assert not torch.equal(few[0].images, few[2].images)
    images, truth = painted(7)
    for pictures in few:
        places = [truth.index(tiger) for tiger in pictures.tigers]
        assert len(set(places)) == 25
        assert torch.equal(pictures.images, images[places])


def test_rows_in_another_order_belong_to_the_same_pictures(tigers, tmp_path):
    for path in tigers.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    header, *rows = (tigers / "metadata.csv").read_text().splitlines()
    (tmp_path / "metadata.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert folder_pictures(tmp_path, None, 0).tigers == painted(7)[1]


def test_a_table_that_leaves_pictures_out_is_refused(evaluate, tigers, tmp_path):
    folder = tmp_path / "some"
    render_folder(folder, 20, SIZE, progress=False)
    Image.new("RGB", (SIZE, SIZE)).save(folder / "another.png")
    assert "some/metadata.csv has no row for " in evaluate("--images", folder)


def test_pictures_without_a_table_have_no_prompts_and_may_be_large(evaluate, tmp_path, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    for i, image in enumerate(procedural_tigers(20, 32, 1)[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"tiger{i}.png")
    said, results = evaluate("--images", folder)
    assert results["sources"]["pictures"] == f"{folder}: 20 of 32 x 32 pixels"
    assert results["pictures"]["prompt_accuracy"] is None
    assert "as asked" not in said
    sentence = f"photos in {folder}? compare them with photos, --reference DIR"
    assert sentence in caplog.text
    caplog.clear()
    evaluate("--images", folder, "--reference", folder, "--out", "b.json", out="b.json")
    assert sentence not in caplog.text


def test_a_run_draws_and_is_asked_for_its_training_tigers(evaluate, run):
    words = ["--checkpoint", run, "--steps", 2, "-n", 24, "--sampler", "ddpm", "--seed", 5]
    results = evaluate(*words)[1]
    model, schedule = runs.load_checkpoint(run)
    how = {"size": SIZE, "sampler": "ddpm", "steps": 2, "progress": False}
    drawn = sample(model, schedule, 24, seed=5, **how)
    trained_on = painted(4, 24)[0]
    wanted = expected(drawn, painted(2_000_000_000, 24)[0], trained_on)
    assert {name: results["pictures"][name] for name in wanted} == wanted
    assert results["sources"]["nearest_among"].startswith("painted tigers of seed 4: 24 of")
    assert results["sources"]["pictures"] == (
        f"{run / 'checkpoints/step-000003'}, ddpm with 2 steps: 24 of 16 x 16 pixels"
    )


def test_training_pictures_are_no_more_than_were_seen(run):
    assert len(training_pictures(run, 2048).images) == 3 * 8
    few = training_pictures(run, 5)
    assert len(few.images) == 5
    assert few.source == "the first 5 of 24 painted tigers of seed 4"


def test_an_exported_network_draws_as_its_run_and_its_card_names_the_tigers(
    evaluate, run, tmp_path, monkeypatch
):
    weights = tmp_path / "weights"
    export_run(run, weights / "tiny")
    monkeypatch.setattr(pretrained, "WEIGHTS", weights)
    results = evaluate("--checkpoint", "tiny", "--steps", 2, "-n", 20, "--sampler", "ddim")[1]
    assert results["sources"]["pictures"] == "tiny, ddim with 2 steps: 20 of 16 x 16 pixels"
    source = "the first 20 of 24 painted tigers of seed 4"
    assert results["sources"]["nearest_among"] == f"{source}: 20 of 16 x 16 pixels"
    model, schedule = pretrained.load_pretrained(weights / "tiny")
    images = sample(model, schedule, 20, size=SIZE, steps=2, seed=5, progress=False)
    drawn = _pictures.drawn_pictures(weights / "tiny", "ddim", 2, 20, 5).images
    assert torch.equal(drawn, images)


def test_mirror_images_are_known_too_if_the_card_says_that_they_were_seen(run, tmp_path):
    known = training_pictures(export_run(run, tmp_path / "tiny", {"mirrored": True}), 5).images
    plain = training_pictures(run, 5).images
    assert torch.equal(known, torch.cat([plain, plain.flip(-1)]))


@pytest.mark.parametrize("card", [{"data": "photos"}, {"seed": None}, {"images": "many"}])
def test_a_card_that_does_not_tell_the_tigers_names_none(run, tmp_path, card):
    assert training_pictures(export_run(run, tmp_path / "tiny", card), 20) is None


def test_photos_that_a_run_was_trained_on_are_found_with_their_mirror_images(
    evaluate, tigers, tmp_path
):
    train_one_step(tigers, tmp_path / "run")
    known = training_pictures(tmp_path / "run", 100)
    assert torch.equal(known.images, torch.cat([painted(7)[0], painted(7)[0].flip(-1)]))
    (state,) = (tmp_path / "run").glob("checkpoints/*/state.json")
    state.write_text(state.read_text().replace(str(tigers), str(tmp_path / "gone")))
    assert training_pictures(tmp_path / "run", 100) is None
    words = ["--checkpoint", tmp_path / "run", "-n", 20, "--steps", 1]
    said, results = evaluate(*words)
    source = "painted tigers of seed 2000000000, as no training pictures were found"
    assert results["sources"]["nearest_among"] == f"{source}: 20 of 16 x 16 pixels"
    assert f"nearest among: {source}: 20 of" in said


def test_a_photo_that_is_there_twice_is_compared_with_once(tigers, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in tigers.glob("*.png"):
        for name in (path.name, f"copy of {path.name}"):
            shutil.copy(path, photos / name)
    train_one_step(photos, tmp_path / "run")
    known = training_pictures(tmp_path / "run", 100)
    assert len(known.images) == 2 * 40  # and mirrored
    _results.measure(Pictures(painted(2)[0], "new"), known, None, known)


def test_training_photos_of_another_folder_are_not_taken_for_them(
    evaluate, tigers, tmp_path, monkeypatch, caplog
):
    """The path is stored absolute, and what is there must be what was trained on."""
    photos = tmp_path / "here/photos"
    shutil.copytree(tigers, photos)
    monkeypatch.chdir(tmp_path / "here")
    train_one_step("photos", tmp_path / "run")
    render_folder(tmp_path / "there/photos", 40, SIZE, 8, progress=False)
    monkeypatch.chdir(tmp_path / "there")
    known = training_pictures(tmp_path / "run", 100)
    assert torch.equal(known.images[:40], painted(7)[0])
    (photos / "tiger-000003.png").unlink()
    (photos / "metadata.csv").unlink()
    assert training_pictures(tmp_path / "run", 100) is None
    (state,) = (tmp_path / "run").glob("checkpoints/*/state.json")
    state.write_text(state.read_text().replace(str(photos), "photos"))  # of an older tigerdiff
    assert training_pictures(tmp_path / "run", 100) is None


def test_a_comparison_that_says_little_is_said_to(evaluate, tigers, tmp_path, caplog):
    evaluate("--images", tigers, "--reference", tigers)
    assert "photos in" not in caplog.text
    assert "40 of the pictures are in the reference too" in caplog.text
    train_one_step(tigers, tmp_path / "run")
    evaluate(
        "--checkpoint", tmp_path / "run", "-n", 20, "--steps", 1, "--out", "b.json", out="b.json"
    )
    assert "has learned photos: compare with some, --reference DIR" in caplog.text


def test_copies_are_found():
    known = Pictures(painted(1)[0], "training")
    results = _results.measure(known, Pictures(painted(2)[0], "new"), None, known)
    assert results["pictures"]["nearest_neighbours"] == {"median_score": 0.0, "copies": 1.0}
    assert "floor" not in results
    lines = _results.table(results).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  copies")] == ["100.0%"]


def test_a_folder_as_reference_is_dealt_to_the_floor_if_it_is_large_enough(tigers):
    reference, floor = reference_pictures(str(tigers), torch.zeros(20, 3, SIZE, SIZE), 0)
    assert len(reference.images) == len(floor.images) == 20
    both = {image.numpy().tobytes() for image in torch.cat([reference.images, floor.images])}
    assert both == {image.numpy().tobytes() for image in painted(7)[0]}
    listed = read_tigers(tigers)
    assert set(reference.tigers) | set(floor.tigers) == set(listed.values())
    reference, floor = reference_pictures(str(tigers), torch.zeros(21, 3, SIZE, SIZE), 0)
    assert len(reference.images) == 21
    assert floor is None
    other, _ = reference_pictures(str(tigers), torch.zeros(21, 3, SIZE, SIZE), 1)
    assert not torch.equal(reference.images, other.images), "the seed chooses"


def test_too_few_pictures_are_a_sentence(evaluate, tigers, tmp_path):
    few = tmp_path / "few"
    render_folder(few, 19, SIZE, progress=False)
    assert evaluate("--images", few) == (
        f"tigerdiff: {few} gives 19 pictures: a distance takes at least 20"
    )
    assert "few gives 19 pictures" in evaluate("--images", tigers, "--reference", few)
    assert not (tmp_path / "evaluation.json").exists()


def test_what_cannot_be_compared_or_kept_is_said_before_the_work(
    evaluate, run, tmp_path, monkeypatch
):
    def drawn(*arguments):
        raise AssertionError("drew in vain")

    monkeypatch.setattr(_pictures, "drawn_pictures", drawn)
    nowhere = evaluate("--checkpoint", run, "--reference", "nowhere")
    assert nowhere == "tigerdiff: --reference must be 'painted' or a folder, and nowhere is none"
    render_folder(tmp_path / "few", 3, SIZE, progress=False)
    few = evaluate("--checkpoint", run, "--reference", tmp_path / "few")
    assert few.endswith("few gives 3 pictures: a distance takes at least 20")
    (tmp_path / "file").write_text("")
    out = evaluate("--checkpoint", run, "--out", tmp_path / "file" / "x.json")
    assert out.endswith("file is no folder: choose another --out")


def test_a_network_smaller_than_tigers_are_painted_is_said_before_the_work(
    evaluate, tigers, tmp_path
):
    config = TrainConfig(
        tigers, tmp_path / "run", image_size=8, steps=1, batch_size=4, channels=8, blocks=1,
        sample_every=0,
    )  # fmt: skip
    list(train(config))
    said = evaluate("--checkpoint", tmp_path / "run")
    assert said == (
        f"tigerdiff: {tmp_path / 'run/checkpoints/step-000001'} draws 8 x 8 pixels and tigers are "
        "painted from 16 on: compare with a folder, --reference DIR"
    )


def test_an_out_that_cannot_be_written_to_is_said_before_the_work(evaluate, tigers, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_pictures, "folder_pictures", None)
    folder = evaluate("--images", tigers, "--out", tigers)
    assert folder == f"tigerdiff: {tigers} is a folder: choose another --out"
    monkeypatch.setattr(Path, "touch", refused)
    said = evaluate("--images", tigers, "--out", "here.json")
    assert said.endswith("cannot be written to (Permission denied): choose another --out")


def test_the_table_is_said_though_the_results_cannot_be_kept(tigers, tmp_path, monkeypatch, capfd):
    def full(*arguments):
        raise OSError("No space left on device")

    words = ["evaluate", "--images", str(tigers), "--out", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", ["tigerdiff", *words])
    monkeypatch.setattr(stored, "write_json", full)
    with pytest.raises(SystemExit):
        cli.main()
    said, err = capfd.readouterr()
    assert "Frechet distance" in said
    assert err.endswith("tigerdiff: No space left on device\n")


def test_an_icon_that_sorts_first_is_named_and_left_out(tigers, tmp_path, caplog):
    for path in tigers.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    alone = folder_pictures(tmp_path, None, 0).images
    Image.new("RGB", (7, 7)).save(tmp_path / "000_icon.png")
    assert torch.equal(folder_pictures(tmp_path, None, 0).images, alone)
    assert f"left out 000_icon.png: the other pictures in {tmp_path} have 16" in caplog.text


def test_the_size_of_a_folder_is_one_that_tigers_have(evaluate, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8), (12 * i, 99, 0)).save(folder / f"{i:02d}.png")
    results = evaluate("--images", folder)[1]
    assert results["sources"]["pictures"] == f"{folder}: 20 of 16 x 16 pixels"


def test_results_of_another_command_are_kept(evaluate, tigers, tmp_path):
    first = evaluate("--images", tigers)[1]
    again = evaluate("--images", tigers)[1]
    assert first | {"date": ""} == again | {"date": ""}
    before = (tmp_path / "evaluation.json").read_text()
    sentence = "evaluation.json exists and holds no such results: choose another --out"
    assert evaluate("--images", tigers, "-n", 20).endswith(sentence)
    assert (tmp_path / "evaluation.json").read_text() == before
    for other in ("[]", '{"mine": 1}', "no JSON"):
        (tmp_path / "mine.json").write_text(other)
        assert "mine.json exists and holds no such results" in evaluate(
            "--images", tigers, "--out", "mine.json"
        )
        assert (tmp_path / "mine.json").read_text() == other
    evaluate("--images", tigers, "-n", 20, "--out", "new/b.json", out="new/b.json")


def test_results_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    stored.write_json({"command": "a"}, out)

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(_files.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        stored.write_json({"command": "b"}, out)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert json.loads(out.read_text()) == {"command": "a"}
