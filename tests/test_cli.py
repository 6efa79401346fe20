"""The command line as a person meets it: in a process of its own, or through main()."""

import inspect
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tigerdiff.training
from tigerdiff import cli, runs
from tigerdiff.config import TrainConfig

TINY = ["--image-size", "16", "--channels", "8", "--batch-size", "4", "--sample-every", "0"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for i in range(5):
        pixels = torch.randint(0, 256, (20, 24, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f"tiger{i}.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return folder


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A run of two steps, made by ``python -m tigerdiff``, and what was said."""
    out = tmp_path_factory.mktemp("runs") / "tigers"
    command = [sys.executable, "-m", "tigerdiff", "train", "--data", photos, "--out", out]
    done = subprocess.run(
        [*command, "--steps", "2", *TINY], capture_output=True, text=True, env=ENVIRONMENT,
        timeout=300, check=False,
    )  # fmt: skip
    return out, done


@pytest.fixture
def tigerdiff_says(monkeypatch, capfd):
    """Runs ``tigerdiff`` with these words; returns exit code, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tigerdiff", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capfd.readouterr()
        return exit_.value.code or 0, out, err

    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield run
    for number, handler in handlers:
        signal.signal(number, handler)


def one_sentence(err):
    """The only line, apart from progress bars and those that name a skipped photo."""
    lines = [line.rpartition("\r")[2] for line in err.strip().split("\n")]
    lines = [line for line in lines if not line.startswith(("skipped ", "photos: "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("tigerdiff: ")
    return lines[0]


# Training


def test_python_m_trains_with_a_bar_and_says_what_comes_next(finished):
    out, done = finished
    assert done.returncode == 0, done.stderr
    assert "checkpoints/step-000002 is ready" in done.stdout
    assert f"tigerdiff sample --checkpoint {out}" in done.stdout
    assert re.search(r"2/2 \[.*loss \d\.\d{4}, \d+\.\d images/s", done.stderr)
    assert re.search(r"torn\.jpg: \w", done.stderr)  # a skipped file and the reason
    assert "torn.jpg" in (out / "log.txt").read_text()
    assert len((out / "log.csv").read_text().splitlines()) == 3


def test_a_run_is_kept_from_a_second_one_and_goes_on_with_resume(
    finished, photos, tmp_path, tigerdiff_says
):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    words = ["train", "--data", photos, "--out", out, *TINY]
    code, _, err = tigerdiff_says(*words, "--steps", 3)
    assert code == 1
    assert "--resume" in one_sentence(err)
    code, _, err = tigerdiff_says(*words, "--steps", 3, "--seed", 1, "--resume")
    assert code == 1
    assert "seed is 1" in one_sentence(err)
    code, said, _ = tigerdiff_says(*words, "--steps", 3, "--resume")
    assert (code, "step-000003 is ready" in said) == (0, True)
    code, said, _ = tigerdiff_says(*words, "--steps", 3, "--resume")
    assert (code, "step-000003 is ready" in said) == (0, True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_tells_the_command_that_goes_on(photos, tmp_path, number):
    out = tmp_path / "my run"
    words = ["train", "--data", photos, "--out", out, "--steps", "100000", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "tigerdiff", *words], stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    log, deadline = out / "log.csv", time.monotonic() + 200
    while not (log.exists() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    err = process.communicate(timeout=100)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (checkpoint,) = runs.complete_checkpoints(out)
    assert f"{checkpoint} is saved" in err
    command = shlex.split(err.strip().splitlines()[-1])
    assert command == ["tigerdiff", *map(str, words), "--resume"]
    step = runs.read_state(checkpoint)["step"]
    assert len(log.read_text().splitlines()) == step + 1
    # The command is the right one: with the goal one step on, it ends well.
    command[command.index("100000")] = str(step + 1)
    again = subprocess.run(
        [sys.executable, "-m", *command], env=ENVIRONMENT, check=False, timeout=300
    )
    assert again.returncode == 0
    assert runs.find_checkpoint(out).name == f"step-{step + 1:06d}"


def test_an_interrupt_before_the_first_step_says_so(photos, tmp_path, tigerdiff_says, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tigerdiff.training, "load_folder", interrupted)
    code, _, err = tigerdiff_says("train", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 130
    assert err == "Stopped before the first step: there was nothing to save.\n"


# Sampling


def test_sample_writes_the_same_picture_for_the_same_seed(finished, tmp_path, tigerdiff_says):
    def picture(name, *words):
        out = tmp_path / "new folder" / name
        words = ["--checkpoint", finished[0], "--out", out, "-n", 5, "--steps", 3, *words]
        code, said, _ = tigerdiff_says("sample", *words)
        assert code == 0
        assert "5 images of 16 x 16 pixels" in said
        with Image.open(out) as image:
            assert image.size == (3 * 18 + 2, 2 * 18 + 2)
            return image.tobytes()

    assert picture("a.png") == picture("b.png", "--seed", 0, "--sampler", "ddim")
    assert picture("c.png", "--seed", 1) != picture("a.png")
    assert picture("d.png", "--sampler", "ddpm") != picture("a.png")


# Errors


def test_errors_are_one_sentence(finished, photos, tmp_path, tigerdiff_says):
    sample = ["sample", "--checkpoint", finished[0], "--out", tmp_path / "grid.png"]
    train = ["train", "--data", photos, "--out", tmp_path / "run", *TINY]
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    cases = [
        (["sample", "--checkpoint", tmp_path / "no"], r"no does not exist"),
        (["sample", "--checkpoint", nothing], "holds no complete checkpoint"),
        ([*sample, "--sampler", "euler"], r"sampler must be one of"),
        ([*sample, "--steps", 1001], "steps must be .*1000"),
        ([*sample, "--out", tmp_path / "grid.txt"], r"grid\.txt: out must end in"),
        ([*sample, "--out", photos / "tiger0.png" / "grid.png"], r"tiger0\.png"),
        ([*train, "--data", tmp_path / "no"], "no does not exist"),
        ([*train, "--data", nothing], "holds no usable picture"),
        ([*train, "--schedule", "sigmoid"], "schedule must be"),
        ([*train, "--prediction", "score"], "prediction must be"),
        ([*train, "--channels", 12], "channels must be a multiple of 8"),
        ([*train, "--learning-rate", "nan"], "learning_rate must be above 0"),
        ([*train, "--resume"], "run"),
    ]
    for words, sentence in cases:
        code, out, err = tigerdiff_says(*words)
        line = one_sentence(err)
        assert (code, out) == (1, "")
        assert re.search(sentence, line), line


def test_a_missing_accelerate_is_one_sentence(photos, tmp_path, tigerdiff_says, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    code, _, err = tigerdiff_says("train", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 1
    assert "pip install 'tigerdiff[train]'" in one_sentence(err)


def test_a_full_gpu_is_one_sentence(finished, tigerdiff_says, monkeypatch):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(cli, "draw", full)
    code, _, err = tigerdiff_says("sample", "--checkpoint", finished[0])
    assert code == 1
    assert "lower --batch-size" in one_sentence(err)


@pytest.mark.parametrize("defect", [KeyError("x"), ValueError("from elsewhere")])
def test_a_defect_keeps_its_traceback(finished, monkeypatch, defect):
    def broken(*arguments, **options):
        raise defect

    monkeypatch.setattr(cli, "draw", broken)
    monkeypatch.setattr(sys, "argv", ["tigerdiff", "sample", "--checkpoint", str(finished[0])])
    with pytest.raises(type(defect)):
        cli.main()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["train", "--out", "x"], "--data"),
        (["train", "--data", "x", "--out", "y", "--steps", "0"], "--steps"),
        (["sample"], "--checkpoint"),
        (["paint"], "paint"),
    ],
)
def test_mistyped_options_are_named(tigerdiff_says, words, problem):
    code, _, err = tigerdiff_says(*words)
    assert code == 2
    assert problem in err
    assert "Traceback" not in err


# Help


def test_version(tigerdiff_says):
    code, out, _ = tigerdiff_says("--version")
    assert (code, out) == (0, f"tigerdiff {version('tigerdiff')}\n")


def test_help_tells_of_each_option_its_group_and_an_example():
    runner = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"})
    help_ = runner.invoke(cli.app, ["train", "--help"]).output
    for word in [*cli_options(cli.train_command), cli.NETWORK, cli.OPTIMISATION, cli.FILES]:
        assert word in help_
    assert "tigerdiff train --data photos --steps 5000 --out runs/tigers\n" in re.sub(
        r" +\n", "\n", help_
    )
    help_ = runner.invoke(cli.app, ["sample", "--help"]).output
    assert "--checkpoint" in help_
    assert "tigerdiff sample --checkpoint runs/tigers" in help_


def cli_options(command):
    return ["--" + name.replace("_", "-") for name in inspect.signature(command).parameters]


def test_options_of_train_are_arguments_of_the_config_with_its_defaults():
    fields = TrainConfig.__dataclass_fields__
    for name, parameter in inspect.signature(cli.train_command).parameters.items():
        assert name in fields
        assert parameter.default in (fields[name].default, inspect.Parameter.empty)
