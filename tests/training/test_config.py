"""What a configuration accepts, refuses with a sentence, and makes of it."""

import logging
import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tigerdiff.devices import LIMITS, precision_on
from tigerdiff.tigers.tiger import CHOICES
from tigerdiff.training import machine
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.examples import load_examples
from tigerdiff.training.loop import train

FUR = {"classes": {"fur": ["white", "black"]}}
REFUSED = [
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
    ({"learning_rate": "fast"}, "learning_rate must be above 0 and finite"),
    ({"gradient_clip": 0}, "gradient_clip must be above 0"),
    ({"dropout": 1.0}, r"dropout must be at least 0 and below 1 \(got 1\.0\)"),
    ({"ema_decay": 1.0}, r"ema_decay must be at least 0 and below 1 \(got 1\.0\)"),
    ({"condition_dropout": -0.1}, "condition_dropout must be at least 0 and below 1"),
    ({"schedule": "sigmoid"}, "schedule must be 'linear' or 'cosine'"),
    ({"prediction": "score"}, "prediction must be"),
    ({"classes": {"fur": ["white", "black"]}}, "classes and labels go together"),
    ({"labels": torch.zeros(12, 1)}, "classes and labels go together"),
    ({"conditional": True}, "conditional=True reads a folder: with a tensor give classes, labels"),
    (
        {"data": "painted", "classes": {"fur": ["a", "b"]}, "labels": torch.zeros(12, 1)},
        "data must be a tensor where classes",
    ),
    (FUR | {"labels": [[0]] * 12}, r"labels must be int64 of shape \(12, 1\).*\(got list\)"),
    (FUR | {"labels": torch.zeros(12, 1)}, r"labels must be int64 .*\(got torch.float32 \(12, 1\)"),
    (FUR | {"labels": torch.zeros(9, 1, dtype=torch.int64)}, "labels must be int64 of shape"),
    (
        FUR | {"labels": torch.full((12, 1), 2)},
        r"labels of fur must be from 0 to 1.*\(got 2 to 2\)",
    ),
    (FUR | {"labels": torch.full((12, 1), -2)}, "labels of fur must be from 0 to 1"),
    ({"data": "painted", "image_size": 8}, r"image_size must be 16 ... 1024 .*\(got 8\)"),
    ({"data": "painted", "image_size": 2048}, "image_size must be 16 ... 1024"),
    ({"data": "painted", "seed": 2**31}, r"seed must be 0 ... 2\*\*31 - 1 for painted tigers"),
]


def test_bad_arguments_are_named(config):
    for change, message in REFUSED:
        with pytest.raises(ValueError, match=f"^{message}"):
            replace(config, **change)


def test_numbers_of_numpy_are_plain_numbers_in_the_config(config):
    of_numpy = replace(
        config, steps=np.int64(4), learning_rate=np.float32(0.5), attention=[np.int32(8)]
    )
    assert of_numpy.to_json() == replace(config, learning_rate=0.5, attention=[8]).to_json()


def test_each_size_has_its_attention_at_8_to_16_pixels_or_names_those_that_do(tmp_path):
    refused = {}
    for size in range(8, 1200):
        try:
            config = TrainConfig("photos", tmp_path, image_size=size)
        except ValueError as error:
            refused[size] = str(error)
            for other in re.findall(r"\d+", refused[size].partition("use ")[2]):
                TrainConfig("photos", tmp_path, image_size=int(other))
            continue
        if size in (8, 9, 24, 64, 104, 1024):
            with torch.device("meta"):
                model = config.network()
                assert model(torch.empty(1, 3, size, size), torch.ones(1)).shape[-1] == size
            (at,) = model.config["attention"]
            assert 8 <= at <= 16, size
    nearest = {90: "88 or 96", 100: "96 or 104", 130: "128 or 144", 150: "144 or 160"}
    for size, others in nearest.items():
        sentence = f"image_size {size} cannot be halved down to 8 ... 16 pixels, for attention"
        assert refused[size].startswith(sentence)
        assert refused[size].endswith(f"use {others}")
    assert not refused.keys() & {8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024}
    TrainConfig("photos", tmp_path, image_size=100, attention=[25])  # as one likes


def test_the_default_network_at_32_pixels_is_small(tmp_path):
    model = TrainConfig("photos", tmp_path).network()
    assert 3e6 < sum(weight.numel() for weight in model.parameters()) < 5e6


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


# Paths


def test_out_among_the_photos_or_below_a_file_is_refused(config, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for out in ("", "run", "deep/run", "../photos", "../link/run"):
        with pytest.raises(ValueError, match=r"^out \(.*\) must not be in data \(.*photos\)"):
            TrainConfig(photos, photos / out)
    TrainConfig(photos, tmp_path / "photos of tigers")
    samples = tmp_path / "run" / "samples"
    samples.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^out \(.*\) must not be in data"):
        TrainConfig(samples, tmp_path / "run")
    TrainConfig(samples, tmp_path / "other run")
    (tmp_path / "file").write_text("not a folder")
    for out in ("file", "file/run"):
        with pytest.raises(NotADirectoryError, match="^out must be a folder, and .*file is a file"):
            replace(config, out=tmp_path / out)


def test_home_is_expanded_and_paths_are_stored_absolute(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    at_home = replace(config, data="~/photos", out="~/run")
    assert (at_home.data, at_home.out) == (tmp_path / "photos", tmp_path / "run")
    stored = replace(config, data="photos", out="run").to_json()
    assert (stored["data"], stored["out"]) == (str(tmp_path / "photos"), str(tmp_path / "run"))


def test_the_word_painted_is_not_the_folder_of_that_name(config, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "painted").mkdir()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save("painted/photo.png")
    for data in ("./painted", Path("painted"), tmp_path / "painted"):
        of_folder = replace(config, data=data)
        assert not of_folder.painted
        assert load_examples(of_folder, progress=False).images.equal(images[:1])
        assert of_folder.to_json()["data"] == str(tmp_path / "painted")
        with pytest.raises(ValueError, match="must not be in data"):
            replace(config, data=data, out="painted/run")
    word = replace(config, data="painted", out=tmp_path / "run")
    assert word.painted
    assert word.to_json()["data"] == "painted"
    list(train(replace(word, steps=1)))
    assert "the folder painted would be ./painted" in (tmp_path / "run/log.txt").read_text()


# Conditions


@pytest.fixture
def labelled(images, tmp_path):
    """Five photos with a table: fur has two words, and one row is missing."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    names = ["a.png", "b.png", "c.png", "deep/d.png", "e.png"]
    for name, image in zip(names, images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
    rows = ["file_name,text,fur,weight,mouth,place"]
    rows += [f"{name},tiger {name},{fur},{i},,here" for i, (name, fur) in
             enumerate(zip(names, ["white", "", "black", "white"]))]  # fmt: skip
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    return folder


def test_attributes_of_a_folder_are_columns_of_words(config, labelled):
    conditional = replace(config, data=labelled, conditional=True)
    assert conditional.classes == {"fur": ["black", "white"]}
    found = load_examples(conditional, progress=False)
    assert found.labels.flatten().tolist() == [1, -1, 0, 1, -1]
    (record,) = train(replace(conditional, steps=1))
    assert record.step == 1
    assert replace(conditional, resume=True).network().classes == {"fur": ["black", "white"]}
    assert replace(config, data="painted", conditional=True).classes == {
        name: CHOICES[name] for name in ("fur", "backdrop", "mouth", "age")
    }


def test_a_column_of_2_to_50_words_is_an_attribute(config, labelled):
    numbers = range(51)
    image = Image.new("RGB", (16, 16))
    for k in numbers:
        image.save(labelled / f"{k}.png")
    rows = [f"{k}.png,word {k},word {k % 50},word {k % 2},word" for k in numbers]
    table = "\n".join(["file_name,many,fifty,two,one", *rows])
    (labelled / "metadata.csv").write_text(table, encoding="utf-8")
    classes = replace(config, data=labelled, conditional=True).classes
    assert {name: len(words) for name, words in classes.items()} == {"fifty": 50, "two": 2}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_as_people_write_it_is_read(config, labelled, separator, caplog):
    """Spaces, separators of other languages, decomposed accents, rows that name no picture."""
    (labelled / "a.png").rename(labelled / unicodedata.normalize("NFD", "ä.png"))
    cells = [
        ["file_name", " fur ", "mouth", "id"],
        ["ä.png", "white ", "open", "1"],
        ["b.png", " white", "shut", "2"],
        ["c.png", "black", " ", "7"],
        ["e.png", " ", "left", "12,5" if separator == ";" else "12.5"],
        ["gone.png", "blue", "", "9"],
    ]
    text = "\r\n".join(separator.join(row) for row in cells)
    (labelled / "metadata.csv").write_text(text, encoding="utf-8")
    with caplog.at_level(logging.INFO, "tigerdiff"):
        conditional = replace(config, data=labelled, conditional=True)
        found = load_examples(conditional, progress=False)
    furs, mouths = ["black", "blue", "white"], ["left", "open", "shut"]
    assert conditional.classes == {"fur": furs, "mouth": mouths}
    assert sorted(found.labels.tolist()) == [[-1, -1], [-1, 0], [0, -1], [2, 1], [2, 2]]
    for said in (
        "fur: black 1, blue 0, white 2, left open 2",
        "columns left out: id (5 different)",
        "has no row for 1 of 5 pictures",
        "names 1 more that are not used: gone.png",
    ):
        assert said in caplog.text


def test_an_unclosed_quote_is_refused(config, labelled):
    table = 'file_name,fur\na.png,red\nb.png,"blue\nc.png,red\ne.png,blue\n'
    (labelled / "metadata.csv").write_text(table, encoding="utf-8")
    with pytest.raises(ValueError, match=r"metadata\.csv is no table"):
        replace(config, data=labelled, conditional=True)


def test_attributes_have_the_order_of_the_head_and_accents_one_form(config, labelled):
    """So the same rows in another order resume the same run."""
    rows = ["a.png,scho\u0308n,", "b.png,blue,x", "c.png,sch\u00f6n,y"]
    for order in (rows, rows[::-1]):
        table = "\n".join(["file_name,fur,mood", *order])
        (labelled / "metadata.csv").write_text(table, encoding="utf-8")
        classes = replace(config, data=labelled, conditional=True).classes
        assert list(classes.items()) == [("fur", ["blue", "sch\u00f6n"]), ("mood", ["x", "y"])]


def test_a_mistyped_size_is_refused_at_once(config):
    with pytest.raises(ValueError, match="^image_size 1000000000 cannot be halved"):
        replace(config, image_size=10**9)


def test_a_folder_without_attributes_is_refused_in_one_sentence(config, labelled, tmp_path):
    needs = r"metadata\.csv: conditional needs such a table, with .* fur \(its first line is "
    table = labelled / "metadata.csv"
    for text, words in {
        "file_name,fur\na.png,white\n": r"needs a column of 2 to 50 .* has fur \(1 different\)$",
        "file_name,id\na.png,1\nb.png,2\n": r"of them a number: .* has id \(2 different\)$",
        "fur\nwhite\nblack\n": needs + r"'fur'\)$",
        "File_Name,fur\na.png,white\n": needs + r"'File_Name,fur'\)$",
        "": needs + r"''\)$",
        None: needs + r"''\)$",
    }.items():
        table.unlink() if text is None else table.write_text(text)
        with pytest.raises(ValueError, match=words):
            replace(config, data=labelled, conditional=True)
    table.write_bytes("file_name,fur\na.png,weiß\nb.png,x\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv is not in UTF-8"):
        replace(config, data=labelled, conditional=True)
    table.write_text("file_name,fur\nA.png,white\nB.png,black\n")
    with pytest.raises(ValueError, match="the table has A.png, the folder a.png$"):
        next(train(replace(config, data=labelled, conditional=True)))
    table.write_text("file_name,fur\na.png,white\nb.png,black\n")
    (labelled / "a.png").write_bytes(b"torn")
    found = load_examples(replace(config, data=labelled, conditional=True), progress=False)
    assert found.labels.tolist() == [[0], [-1], [-1], [-1]]


# The machine


def test_the_precision_that_fits_each_device(monkeypatch):
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    cuda, mps, cpu = map(torch.device, ("cuda", "mps", "cpu"))
    for fast, wanted in ((True, ["bf16", "no", "bf16"]), (False, ["fp16", "no", "no"])):
        supported = lambda *_, fast=fast, **__: fast  # noqa: E731
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", supported, raising=False)
        # Without AMX a step in bfloat16 takes longer than in float32.
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
        assert [precision_on(device) for device in (cuda, mps, cpu)] == wanted
        assert machine.make_accelerator("cpu").mixed_precision == wanted[2]  # also a second time


def test_the_card_with_the_number_that_is_asked_for_is_trained_on(monkeypatch):
    """Accelerate takes the current card: that one is set first."""
    chosen = []
    monkeypatch.setattr(machine, "find_device", torch.device)
    monkeypatch.setattr(machine, "precision_on", lambda device: "no")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cuda:1", "cuda", "cpu:0"):
        machine.make_accelerator(name)
    assert chosen == [torch.device("cuda:1")]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="device must have no number where a launcher"):
        machine.make_accelerator("cuda:1")


def test_an_out_that_cannot_be_made_is_said_in_one_sentence(config, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    said = r"out cannot be .*new \(Permission denied\): choose another out"
    with pytest.raises(PermissionError, match=said):
        next(train(replace(config, out=tmp_path / "new")))


def test_what_the_machine_lacks_is_said_before_the_work(config, monkeypatch, tmp_path, caplog):
    with pytest.raises(
        ValueError, match=r"device must be one that this machine has: cpu.* \(got 'tpu'\)"
    ):
        next(train(replace(config, device="tpu")))
    need = machine.step_memory(config.network(), config.batch_size)
    monkeypatch.setattr(machine, "memory_of", lambda device: (0, need // 5))
    with pytest.raises(MemoryError, match="are needed and this machine has .*: lower batch_size"):
        next(train(config))
    monkeypatch.setattr(machine, "memory_of", lambda device: (0, need // 3))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    list(train(replace(config, steps=1)))
    assert re.search(r"MiB are needed and this machine has \d+ MiB: lower batch_size", caplog.text)
    assert "checkpoints take" in caplog.text
    monkeypatch.setenv("CXX", "no compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"compile needs a C\+\+ compiler, .*--compile"):
        next(train(replace(config, out=tmp_path / "new", compile=True)))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'pip install "tigerdiff\[train\]"'):
        next(train(config))


def test_the_memory_of_a_step_is_what_the_network_keeps(config):
    """Against the tensors that a real step keeps, counted by torch itself."""
    network, kept = config.network(), {}
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}

    def keep(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = network(torch.randn(4, 3, 16, 16), torch.ones(4))
    assert out.shape == (4, 3, 16, 16)
    size = sum(weight.nbytes for weight in network.parameters())
    assert machine.step_memory(network, 4) == pytest.approx(sum(kept.values()) + 5 * size, rel=0.02)


def test_images_must_fit_the_image_size(config, images):
    for wrong in (images[:, :, :8, :8], images.float(), [1, 2]):
        with pytest.raises(ValueError, match=r"data must be uint8 \(N, 3, 16, 16\)"):
            next(train(replace(config, data=wrong)))
