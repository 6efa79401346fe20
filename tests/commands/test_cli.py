"""The command line as a person meets it: in a process of its own, or through main()."""

import inspect
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tigerdiff.data.photos
import tigerdiff.drawing
from tigerdiff import cli
from tigerdiff.commands.app import app
from tigerdiff.commands.train import FILES, NETWORK, OPTIMISATION, train_command
from tigerdiff.data.painted import read_tigers
from tigerdiff.sampling import SAMPLERS
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.training import checkpoints as runs
from tigerdiff.training.config import TrainConfig

NOT_AN_ERROR = ("skipped ", "photos: ", "A step holds about ")
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
    lines = [line for line in lines if not line.startswith(NOT_AN_ERROR)]
    assert len(lines) == 1, err
    assert lines[0].startswith("tigerdiff: ")
    return lines[0]


# Training


def test_python_m_trains_with_a_bar_and_says_what_comes_next(finished):
    out, done = finished
    assert done.returncode == 0, done.stderr
    assert "checkpoints/step-000002 is ready" in done.stdout
    assert f"{sys.executable} -m tigerdiff sample --checkpoint {out}" in done.stdout
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


def wait_for_rows(out, n, process):
    """Until the run's log has n steps."""
    log, deadline = out / "log.csv", time.monotonic() + 200
    while not (log.exists() and len(log.read_text().splitlines()) > n):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_tells_the_command_that_goes_on(photos, tmp_path, number):
    out = tmp_path / "my run"
    words = ["train", "--data", photos, "--out", out, "--steps", "400", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "tigerdiff", *words], stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    wait_for_rows(out, 3, process)
    process.send_signal(number)
    err = process.communicate(timeout=100)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "\nStopping after this step; Ctrl-C again stops at once\n" in err
    (checkpoint,) = runs.complete_checkpoints(out)
    assert f"{checkpoint} is saved" in err
    command = err.strip().splitlines()[-1]
    told = [sys.executable, "-m", "tigerdiff", *map(str, words), "--resume"]
    assert shlex.split(command) == told
    step = runs.read_state(checkpoint)["step"]
    assert len((out / "log.csv").read_text().splitlines()) == step + 1
    again = subprocess.run(command, shell=True, env=ENVIRONMENT, check=False, timeout=300)
    assert again.returncode == 0
    assert runs.find_checkpoint(out).name == "step-000400"
    assert len((out / "log.csv").read_text().splitlines()) == 401


SLOW = """
import time
from tigerdiff import cli
from tigerdiff.commands.app import app
from tigerdiff.commands.train import FILES, NETWORK, OPTIMISATION, train_command
from tigerdiff.training import loop as training, run

def slow_ddim(*arguments, **options):
    for step in ddim(*arguments, **options):
        time.sleep(1)
        yield step

def slow_loss(*arguments):
    calls.append(1)
    time.sleep({pause} if len(calls) > 2 else 0)
    return diffusion_loss(*arguments)

calls, ddim, diffusion_loss = [], run.ddim, training.diffusion_loss
run.ddim, training.diffusion_loss = slow_ddim, slow_loss
cli.main()
"""


def slow_run(photos, tmp_path, pause, *words):
    """A run whose grids take a minute, and its steps from the third on a pause; in step 3 or so."""
    script, out = tmp_path / "slow.py", tmp_path / "run"
    script.write_text(SLOW.format(pause=pause))
    command = [sys.executable, script, "train", "--data", photos, "--out", out, *TINY, *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for_rows(out, 2, process)
    time.sleep(1)
    return out, process


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_an_interrupt_while_a_grid_is_drawn_answers_at_once(photos, tmp_path):
    out, process = slow_run(photos, tmp_path, 0, "--sample-every", "2")
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=25)[1]  # a grid takes 50 seconds
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "Stopping after this step" in err
    assert f"step-000002 is saved. Go on with:\n  {tmp_path}" in err
    assert not (out / "samples").exists()
    assert len((out / "log.csv").read_text().splitlines()) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_second_interrupt_does_not_wait_for_the_step(photos, tmp_path):
    out, process = slow_run(photos, tmp_path, 60)
    process.send_signal(signal.SIGINT)
    said = iter(lambda: process.stderr.readline(), "")
    assert any(line.startswith("Stopping after this step") for line in said)
    assert process.poll() is None  # it would finish the step
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=25)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "step-000002 is saved" in err
    assert runs.find_checkpoint(out).name == "step-000002"


@pytest.mark.skipif(os.name == "nt", reason="the line is for another shell")
@pytest.mark.parametrize("on_path", [True, False])
def test_the_command_that_draws_runs_as_it_is_told(finished, photos, tmp_path, on_path):
    out = tmp_path / "my run"
    shutil.copytree(finished[0], out)
    script = Path(sysconfig.get_path("scripts")) / "tigerdiff"
    paths = [str(script.parent)] * on_path + [os.defpath]
    typed = "tigerdiff" if on_path else os.path.relpath(script, tmp_path)
    where = {"cwd": tmp_path, "env": ENVIRONMENT | {"PATH": os.pathsep.join(paths)}}
    words = ["train", "--data", photos, "--out", "my run", "--steps", 2, *TINY, "--resume"]
    line = shlex.join([typed, *map(str, words)])
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, timeout=300, **where
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()[-1].strip()
    assert told == f"{typed} sample --checkpoint 'my run'"
    assert subprocess.run(told, shell=True, check=False, timeout=300, **where).returncode == 0
    assert (tmp_path / "grid.png").exists()


def test_an_interrupt_before_the_first_step_says_so(photos, tmp_path, tigerdiff_says, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(tigerdiff.data.photos, "load_folder", interrupted)
    code, _, err = tigerdiff_says("train", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 130
    assert err.endswith("Stopped before the first step: there was nothing to save.\n")


# Painting


def test_what_is_rendered_trains_without_a_warning(tmp_path, tigerdiff_says):
    out, run = tmp_path / "tigers", tmp_path / "run"
    code, said, _ = tigerdiff_says("render", "-n", 5, "--size", 16, "--seed", 3, "--out", out)
    assert code == 0
    assert said == f"{out}: 5 tigers of 16 x 16 pixels, captions.csv and metadata.csv\n"
    assert list(read_tigers(out).values()) == procedural_tigers(5, 16, 3)[1]
    code, said, err = tigerdiff_says("train", "--data", out, "--out", run, "--steps", 1, *TINY)
    assert (code, "step-000001 is ready" in said) == (0, True), err
    assert (run / "log.txt").read_text() == ""
    assert runs.read_state(runs.find_checkpoint(run))["images"] == 5


def test_it_trains_on_painted_tigers(tmp_path, tigerdiff_says):
    words = ["train", "--data", "painted", "--out", tmp_path / "run", *TINY]
    code, said, err = tigerdiff_says(*words, "--steps", 2)
    assert (code, "step-000002 is ready" in said) == (0, True), err
    assert runs.read_state(runs.find_checkpoint(tmp_path / "run"))["config"]["data"] == "painted"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rendering_tells_the_command_that_goes_on(tmp_path, number):
    out = tmp_path / "my tigers"
    words = ["render", "--out", out, "-n", "400", "--size", "256"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tigerdiff", *words], stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not (out / "metadata.csv").exists() or len(read_tigers(out)) < 16:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    err = process.communicate(timeout=100)[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    there = len(read_tigers(out))
    assert f"Stopped; {there} of 400 tigers are in {out}. Go on with:" in err
    told = shlex.split(err.strip().splitlines()[-1])
    assert told == [sys.executable, "-m", "tigerdiff", *map(str, words), "--resume"]
    told[told.index("400")] = str(there + 1)
    done = subprocess.run(told, env=ENVIRONMENT, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(read_tigers(out).values()) == procedural_tigers(there + 1, 16)[1]


# Sampling


def test_sample_writes_the_same_picture_for_the_same_seed(finished, tmp_path, tigerdiff_says):
    def picture(name, *words):
        out = tmp_path / "new folder" / name
        words = ["--checkpoint", finished[0], "--out", out, "-n", 5, "--steps", 3, *words]
        code, said, _ = tigerdiff_says("sample", *words, "--force")
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
    damaged = tmp_path / "damaged"
    shutil.copytree(finished[0], damaged)
    (damaged / "checkpoints/step-000002/state.json").write_text('{"format": 1}')
    cases = [
        (["sample", "--checkpoint", tmp_path / "no"], r"no does not exist"),
        (["sample", "--checkpoint", "ddpm-lion-64"], r"ddpm-lion-64 does not exist: name a run's"),
        (["evaluate", "--checkpoint", "ddpm-lion-64"], r"ddpm-lion-64 does not exist: name a run"),
        (["sample", "--checkpoint", nothing], "holds no complete checkpoint"),
        ([*sample, "--sampler", "euler"], r"sampler must be one of"),
        ([*sample, "--steps", 1001], "steps must be .*1000"),
        ([*sample, "--out", tmp_path / "grid.txt"], r"grid\.txt: out must end in"),
        ([*sample, "--out", photos / "tiger0.png" / "grid.png"], r"tiger0\.png"),
        ([*train, "--data", tmp_path / "no"], "no does not exist"),
        ([*train, "--data", nothing], "holds no usable picture"),
        ([*train, "--data", "painted", "--image-size", 8], "image_size must be 16 ... 1024 for"),
        (["render", "--out", photos], "photos0 is not empty: choose another out, or .*--resume"),
        (["render", "--out", photos, "--resume"], "holds no tigers that could be added to"),
        (["render", "--out", tmp_path / "new", "--size", 8], "size must be 16 ... 1024"),
        (["render", "--out", photos / "tiger0.png"], r"out must be a folder, and .*tiger0\.png"),
        (["evaluate"], "needs either --images or --checkpoint, and not both"),
        (["evaluate", "--images", photos, "--checkpoint", finished[0]], "and not both"),
        (["evaluate", "--images", photos, "--steps", 5], "go with --checkpoint"),
        (["evaluate", "--images", tmp_path / "no"], "no does not exist"),
        (["evaluate", "--checkpoint", tmp_path / "no"], "no does not exist"),
        (["evaluate", "--images", photos, "--out", damaged], "damaged exists and is not of this"),
        ([*train, "--schedule", "bar"], "schedule must be 'linear' or 'cosine'"),
        ([*train, "--prediction", "foo"], "prediction must be 'eps', 'x0' or 'v'"),
        ([*train, "--dropout", 1], "dropout must be at least 0 and below 1"),
        ([*train, "--seed", 2**64], "seed must be below"),
        ([*train, "--out", photos / "tiger0.png"], r"out must be a folder, and .*tiger0\.png"),
        ([*train, "--out", photos / "run"], r"out \(.*run\) must not be in data \("),
        (["sample", "--checkpoint", damaged], r"state\.json is damaged"),
        ([*train, "--out", damaged, "--steps", 3, "--resume"], r"state\.json is damaged"),
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

    monkeypatch.setattr(tigerdiff.drawing, "sample", full)
    code, _, err = tigerdiff_says("sample", "--checkpoint", finished[0])
    assert code == 1
    assert "lower --batch-size" in one_sentence(err)


@pytest.mark.parametrize("defect", [KeyError("x"), ValueError("from elsewhere")])
def test_a_defect_keeps_its_traceback(finished, monkeypatch, defect):
    def broken(*arguments, **options):
        raise defect

    monkeypatch.setattr(tigerdiff.drawing, "sample", broken)
    monkeypatch.setattr(sys, "argv", ["tigerdiff", "sample", "--checkpoint", str(finished[0])])
    with pytest.raises(type(defect)):
        cli.main()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["train", "--out", "x"], "--data"),
        (["train", "--data", "x", "--out", "y", "--steps", "0"], "--steps"),
        (["sample"], "--checkpoint"),
        (["render", "-n", "0"], "-n"),
        (["evaluate", "--images", "x", "-n", "19"], "-n"),
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
    help_ = runner.invoke(app, ["train", "--help"]).output
    for word in [*cli_options(train_command), NETWORK, OPTIMISATION, FILES]:
        assert word in help_
    assert "tigerdiff train --data photos --steps 5000 --out runs/tigers\n" in re.sub(
        r" +\n", "\n", help_
    )
    assert "NVIDIA's with CUDA" in help_
    help_ = runner.invoke(app, ["sample", "--help"]).output
    assert "NVIDIA's with CUDA" in help_
    assert "--checkpoint" in help_
    assert "tigerdiff sample --checkpoint runs/tigers" in help_
    assert "|".join(SAMPLERS) in help_
    words = re.sub(r"[\s│]+", " ", help_)
    assert "What exists as a folder is taken for that." in words
    help_ = runner.invoke(app, ["render", "--help"]).output
    assert "tigerdiff render -n 64 --size 128 --out tigers" in help_
    help_ = runner.invoke(app, ["evaluate", "--help"]).output
    assert "tigerdiff evaluate --checkpoint runs/painted --steps 50 -n 2048" in help_
    help_ = runner.invoke(app, ["--help"]).output
    order = [help_.index(f" {name} ") for name in ("render", "train", "sample", "evaluate")]
    assert order == sorted(order)


def cli_options(command):
    return ["--" + name.replace("_", "-") for name in inspect.signature(command).parameters]


def test_options_of_train_are_arguments_of_the_config_with_its_defaults():
    fields = TrainConfig.__dataclass_fields__
    for name, parameter in inspect.signature(train_command).parameters.items():
        assert name in fields
        assert parameter.default in (fields[name].default, inspect.Parameter.empty)
