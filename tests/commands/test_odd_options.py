"""Every option of the command line with values that it cannot take: one sentence, no traceback."""

import re
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tigerdiff import cli
from tigerdiff.commands.app import app

WRONG = {
    int: ["x", "2.5", "nan", "", "-1", "1e3"],
    float: ["x", "", "nan", "inf", "-1", "1,5"],
    Path: [f"{__file__}/x", "~no such user/x", ""],
    "path": [f"{__file__}/x", "~no such user/x", ""],
    str: ["nonsense", "", "é ü", "~no such user/x"],
    bool: [],  # a flag has no value
}
FREE = {"--fur", "--backdrop", "--mouth", "--age"}  # any words, or none


def options():
    for command in app.registered_commands:
        hints = typing.get_type_hints(command.callback)
        for name, hint in hints.items():
            kinds = {hint, *typing.get_args(hint)} & WRONG.keys()
            option = "-n" if name == "n" else "--" + name.replace("_", "-")
            wrong = WRONG["path" if option == "--out" else kinds.pop()] if kinds else ()
            for value in wrong:
                if value == "" and option in FREE:
                    continue
                yield command.name, option, value


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(20):
        Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_wrong_value_of_an_option_is_one_sentence(photos, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    sound = {
        "train": {"--data": photos, "--out": "run", "--image-size": 16, "--channels": 8,
                  "--batch-size": 2, "--steps": 1, "--sample-every": 0},
        "sample": {"--checkpoint": "ddpm-tiger-32", "-n": 1, "--steps": 1, "--out": "a.png"},
        "render": {"-n": 1, "--size": 16, "--out": "tigers"},
        "evaluate": {"--images": photos, "--out": "e.json"},
    }  # fmt: skip
    wrong = []
    for command, option, value in options():
        given = {**sound[command], option: value}
        if command == "evaluate" and option in ("--checkpoint", "--sampler", "--steps", "--device"):
            given.pop("--images")
            given = {"--checkpoint": "ddpm-tiger-32", "-n": 20, "--steps": 1} | given
        words = [
            f"{name}={x}" if name.startswith("--") else f"{name}{x}" for name, x in given.items()
        ]
        monkeypatch.setattr(sys, "argv", ["tigerdiff", command, *words])
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code
        except Exception as error:
            code = repr(error)
        said = capfd.readouterr().err
        name = option.strip("-").replace("-", "_")
        called = rf"(?<![\w-])({re.escape(option)}|{name})(?![\w-])"
        named = re.search(called, said) or (len(str(value)) > 2 and str(value) in said)
        if code not in (1, 2) or not named or "Traceback" in said:
            wrong.append((command, option, value, code, said[-300:]))
    assert not wrong, "\n".join(map(str, wrong))
