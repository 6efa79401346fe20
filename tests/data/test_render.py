"""Rendered folders: whole at every moment, exact to the last bit, and readable for others."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tigerdiff.commands.render import render_command
from tigerdiff.data import files as _files
from tigerdiff.data import painted
from tigerdiff.data.painted import ATTRIBUTES, read_tigers, render_folder
from tigerdiff.data.photos import load_folder
from tigerdiff.data.tables import read_classes
from tigerdiff.tigers.captions import caption
from tigerdiff.tigers.paint import paint, procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """No test touches the real cache of the person who runs it."""
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(_files, "cache_home", lambda: home)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Twelve tigers of seed 5; to be read only."""
    folder = tmp_path_factory.mktemp("tigers") / "new" / "tigers"
    render_folder(folder, 12, SIZE, 5, progress=False)
    return folder


@pytest.fixture
def two_at_a_time(monkeypatch):
    monkeypatch.setattr(painted, "PIXELS", 2 * SIZE**2 + 1)


def pixels(path):
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_pictures_are_the_tigers_of_the_seed(rendered):
    images, tigers = procedural_tigers(12, SIZE, 5)
    names = [f"tiger-{i:06d}.png" for i in range(12)]
    assert sorted(contents(rendered)) == ["captions.csv", "metadata.csv", *names]
    for name, image in zip(names, images, strict=True):
        assert torch.equal(pixels(rendered / name), image)
    assert read_tigers(rendered) == dict(zip(names, tigers, strict=True))


def test_the_tables_tell_of_every_picture(rendered):
    tigers = procedural_tigers(12, SIZE, 5)[1]
    rows = rows_of(rendered / "metadata.csv")
    assert list(rows[0]) == ["file_name", "text", *CHOICES, *RANGES, "stripes", "scene"]
    assert [row["text"] for row in rows] == [caption(tiger) for tiger in tigers]
    few = [{name: row[name] for name in ("file_name", "text")} for row in rows]
    assert rows_of(rendered / "captions.csv") == few


def test_a_row_makes_the_same_pixels_again(rendered):
    for row in rows_of(rendered / "metadata.csv"):
        words = {name: row[name] for name in CHOICES}
        numbers = {name: float(row[name]) for name in RANGES}
        seeds = {name: int(row[name]) for name in ("stripes", "scene")}
        again = paint(Tiger(**words, **numbers, **seeds), SIZE)
        assert torch.equal(again, pixels(rendered / row["file_name"]))


def test_the_folder_loads_without_a_word(rendered, caplog):
    images = load_folder(rendered, SIZE, progress=False)
    assert torch.equal(images, procedural_tigers(12, SIZE, 5)[0])
    assert caplog.records == []


HUGGING_FACE = """
import json, sys
from datasets import load_dataset
data = load_dataset("imagefolder", data_dir=sys.argv[1], split="train")
rows = [row | {"image": [row["image"].mode, row["image"].getpixel((3, 9))]} for row in data]
print(json.dumps(rows))
"""


def test_hugging_face_datasets_loads_pictures_captions_and_attributes(rendered, tmp_path):
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE, rendered], capture_output=True, text=True,
        check=False, env=os.environ | offline,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    images, tigers = procedural_tigers(12, SIZE, 5)
    for row, image, tiger in zip(json.loads(done.stdout), images, tigers, strict=True):
        assert row.pop("image") == ["RGB", image[:, 9, 3].tolist()]
        assert row.pop("text") == caption(tiger)
        numbers = {name: getattr(tiger, name) for name in RANGES}
        assert {name: row[name] for name in RANGES} == pytest.approx(numbers, rel=1e-12)
        assert Tiger(**row | numbers) == tiger  # pandas before 3 rounds the numbers


# Folders that are there already


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_others_is_left_alone(tmp_path, resume):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "metadata.csv").write_text("file_name,text\nmine.png,mine\n")
    before = contents(tmp_path)
    error, sentence = (
        (ValueError, "holds no tigers that could be added to")
        if resume
        else (FileExistsError, "is not empty: choose another out, or .*--resume")
    )
    with pytest.raises(error, match=sentence):
        render_folder(tmp_path, 3, SIZE, resume=resume, progress=False)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_filled_also_if_a_file_manager_has_been_there(tmp_path):
    (tmp_path / ".DS_Store").touch()
    for folder in (tmp_path, tmp_path / "new"):
        render_folder(folder, 1, SIZE, resume=folder.name == "new", progress=False)
        assert len(read_tigers(folder)) == 1


def test_out_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file is a file: choose another out"):
        render_folder(tmp_path / "file", 1, SIZE, progress=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 15}, r"size must be 16 ... 1024 for painted tigers \(got 15\)"),
        ({"size": 1025}, "size must be 16"),
        ({"n": 0}, r"n must be a whole number of at least 1 \(got 0\)"),
        ({"seed": 2**31}, r"seed must be 0 ... 2\*\*31 - 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        render_folder(tmp_path / "new", **{"n": 1, "size": SIZE, "seed": 0} | change)
    assert not (tmp_path / "new").exists()


# Interrupts and resume


def interrupt_at(monkeypatch, owner, name, call):
    """The function raises KeyboardInterrupt at this call of it, from 1."""
    original, calls = getattr(owner, name), []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)
    return calls


@pytest.mark.parametrize(
    ("owner", "name", "call", "left"),
    [
        (painted, "procedural_tigers", 3, 4),
        (painted, "caption", 6, 4),
        (Image.Image, "save", 6, 5),  # the sixth picture is not there, and its neighbour is
        (_files.os, "replace", 2 + 6, 5),  # after two tables and five pictures
    ],
)
def test_an_interrupt_leaves_whole_pictures_and_resume_completes_them(
    rendered, tmp_path, monkeypatch, two_at_a_time, owner, name, call, left
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            render_folder(tmp_path, 12, SIZE, 5, progress=False)
    there = sorted(set(contents(tmp_path)) - {"captions.csv", "metadata.csv"})
    assert there == [f"tiger-{i:06d}.png" for i in range(left)]
    assert list(read_tigers(tmp_path)) == there[:4]
    for file in there:
        assert pixels(tmp_path / file).shape == (3, SIZE, SIZE)
    render_folder(tmp_path, 12, SIZE, 5, resume=True, progress=False)
    assert contents(tmp_path) == contents(rendered)


def test_half_a_save_is_no_picture(tmp_path, monkeypatch):
    def half(self, path, kind):
        path.write_bytes(b"\x89PNG half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left"):
        render_folder(tmp_path, 1, SIZE, progress=False)
    assert sorted(contents(tmp_path)) == ["captions.csv", "metadata.csv"]


@pytest.mark.parametrize("cut", ["metadata.csv", "captions.csv"])
def test_what_a_kill_has_cut_is_mended(rendered, tmp_path, cut):
    render_folder(tmp_path, 5, SIZE, 5, progress=False)
    table = tmp_path / cut
    table.write_bytes(table.read_bytes()[:-9])
    (tmp_path / "tiger-000005.png.0f.part").write_bytes(b"half")
    if cut == "metadata.csv":
        with pytest.raises(
            ValueError, match="the last line of .* lacks its newline and may be cut"
        ):
            read_tigers(tmp_path)
    render_folder(tmp_path, 12, SIZE, 5, resume=True, progress=False)
    assert contents(tmp_path) == contents(rendered)


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_table_whose_last_line_has_no_end_is_read_in_full(rendered, tmp_path, end):
    text = (rendered / "metadata.csv").read_text(encoding="utf-8")
    (tmp_path / "metadata.csv").write_bytes((text.rstrip("\n") + end).encode())
    assert read_tigers(tmp_path) == read_tigers(rendered)


def test_part_files_of_others_are_left_alone(tmp_path):
    others = {"data.csv.gz.part", "notes.part", "metadata.csv.zip.part", "my-tiger-1.png.0f.part"}
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "captions.csv.0f.part").write_text("half")
    with pytest.raises(FileExistsError):
        render_folder(tmp_path, 1, SIZE, progress=False)
    assert set(contents(tmp_path)) == others


@pytest.mark.parametrize("gone", ["tiger-000000.png", "metadata.csv", "captions.csv"])
def test_other_tigers_are_refused_though_there_is_none_to_keep(tmp_path, gone):
    render_folder(tmp_path, 3, SIZE, 6, progress=False)
    (tmp_path / gone).unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds tigers of another size, seed or version"):
        render_folder(tmp_path, 3, SIZE, 5, resume=True, progress=False)
    assert contents(tmp_path) == before
    render_folder(tmp_path, 3, SIZE, 6, resume=True, progress=False)
    assert list(read_tigers(tmp_path).values()) == procedural_tigers(3, SIZE, 6)[1]


def test_the_command_says_how_many_tigers_are_there(tmp_path, capsys):
    render_folder(tmp_path, 5, SIZE, progress=False)
    before = signal.getsignal(signal.SIGTERM)
    try:
        render_command(tmp_path, 3, SIZE, 0, resume=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().out.startswith(f"{tmp_path}: 5 tigers of 16 x 16 pixels")


@pytest.mark.parametrize("left", [["metadata.csv"], ["captions.csv"], []])
def test_a_stop_between_the_tables_can_be_gone_on_with(rendered, tmp_path, left):
    for name in left:
        header = (rendered / name).read_text(encoding="utf-8").split("\n")[0]
        (tmp_path / name).write_text(f"{header}\n", encoding="utf-8")
    (tmp_path / "metadata.csv.3f.part").write_text("half", encoding="utf-8")
    render_folder(tmp_path, 12, SIZE, 5, resume=bool(left), progress=False)
    assert contents(tmp_path) == contents(rendered)


def test_resume_paints_again_from_the_first_picture_that_is_gone(rendered, tmp_path):
    render_folder(tmp_path, 9, SIZE, 5, progress=False)
    (tmp_path / "tiger-000004.png").unlink()
    render_folder(tmp_path, 12, SIZE, 5, resume=True, progress=False)
    assert contents(tmp_path) == contents(rendered)


def test_a_damaged_picture_is_named_with_its_remedy(tmp_path):
    render_folder(tmp_path, 3, SIZE, 5, progress=False)
    (tmp_path / "tiger-000002.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="tiger-000002.png is damaged: delete it, and --resume"):
        render_folder(tmp_path, 5, SIZE, 5, resume=True, progress=False)


def test_tables_of_spreadsheets_are_read(rendered, tmp_path):
    text = (rendered / "metadata.csv").read_text(encoding="utf-8")
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8-sig", newline="\r\n")
    assert read_tigers(tmp_path) == read_tigers(rendered)
    (tmp_path / "metadata.csv").write_bytes(text.replace("tiger-", "tigré-").encode("latin-1"))
    for read in (read_tigers, lambda out: render_folder(out, 1, SIZE, 5, resume=True)):
        with pytest.raises(ValueError, match="metadata.csv is not in UTF-8"):
            read(tmp_path)


def test_a_table_that_is_none_is_refused_in_a_sentence(rendered, tmp_path):
    text = (rendered / "metadata.csv").read_text(encoding="utf-8")
    (tmp_path / "metadata.csv").write_text(text + "x" * 200_000 + "\n", encoding="utf-8")
    for read in (read_tigers, read_classes):
        with pytest.raises(ValueError, match=r"metadata\.csv is no table: save it anew as CSV"):
            read(tmp_path)


def test_resume_adds_tigers_and_takes_none_away(rendered, tmp_path, monkeypatch):
    render_folder(tmp_path, 12, SIZE, 5, progress=False)
    calls = interrupt_at(monkeypatch, painted, "procedural_tigers", -1)
    render_folder(tmp_path, 3, SIZE, 5, resume=True, progress=False)
    assert contents(tmp_path) == contents(rendered)
    assert not calls, "none is painted anew"


@pytest.mark.parametrize("change", [{"seed": 6}, {"size": 2 * SIZE}])
def test_resume_refuses_other_tigers(rendered, change):
    before = contents(rendered)
    with pytest.raises(ValueError, match="holds tigers of another size, seed or version"):
        render_folder(rendered, 20, **{"size": SIZE, "seed": 5, "resume": True} | change)
    assert contents(rendered) == before


def test_few_tigers_are_held_at_a_time(tmp_path, monkeypatch, two_at_a_time):
    calls = interrupt_at(monkeypatch, painted, "procedural_tigers", -1)
    render_folder(tmp_path, 7, SIZE, progress=False)
    assert [arguments[0] for arguments in calls] == [2, 2, 2, 1]


# Tables of others


def test_a_table_without_attributes_has_no_tigers(tmp_path):
    assert read_tigers(tmp_path) == {}
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a tiger\n")
    assert read_tigers(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "value"), [("fur", "blue"), ("gaze_x", "left"), ("scale", "9.0"), ("stripes", "1.5")]
)
def test_a_damaged_row_is_named(tmp_path, name, value):
    render_folder(tmp_path, 3, SIZE, progress=False)
    path = tmp_path / "metadata.csv"
    rows = rows_of(path)
    rows[1][name] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file_name", "text", *ATTRIBUTES])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(
        ValueError, match=rf"^line 3 of {re.escape(str(path))} is damaged: .*{value}"
    ):
        read_tigers(tmp_path)


def test_a_row_that_is_too_short_is_named(tmp_path):
    render_folder(tmp_path, 1, SIZE, progress=False)
    with (tmp_path / "metadata.csv").open("a") as file:
        file.write("tiger-000001.png,a tiger,orange\n")
    with pytest.raises(ValueError, match=r"^line 3 of .*metadata\.csv is damaged: "):
        read_tigers(tmp_path)
