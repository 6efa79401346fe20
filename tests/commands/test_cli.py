"""The command line as a person meets it: in a process of its own, or through main()."""

import errno
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tigerdiff.drawing
from tigerdiff import cli
from tigerdiff.commands import options
from tigerdiff.commands.app import app
from tigerdiff.commands.shell import program
from tigerdiff.commands.train import FILES, NETWORK, OPTIMISATION, train_command
from tigerdiff.data.painted import read_tigers
from tigerdiff.sampling import SAMPLERS
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.training import checkpoints as runs
from tigerdiff.training import examples, loop
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


def test_a_run_is_kept_from_a_second_one_and_can_be_resumed(
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


def rows(out):
    """How many steps a run's log has."""
    log = out / "log.csv"
    return log.read_bytes().count(b"\n") - 1 if log.exists() else 0


HELD = """
import os, time
from tigerdiff.training import loop

def held_loss(*arguments):
    calls.append(1)
    while len(calls) > 4 and not os.path.exists(job["folder"] + "/go"):
        time.sleep(0.02)
    return diffusion_loss(*arguments)

calls, diffusion_loss = [], loop.diffusion_loss
loop.diffusion_loss = held_loss
"""  # after four steps a run waits until it may continue: no test depends on how fast it is


def test_each_signal_that_asks_for_an_end_saves_and_says_how_to_resume(photos, tmp_path, start):
    """Ctrl-C, the end of a job, a closed terminal, and what clusters announce an end with."""
    runs_ = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        out = tmp_path / f"my run {number}"
        words = ["train", "--data", photos, "--out", out, "--steps", "60", *TINY]
        runs_[number] = out, words, start(*words, before=HELD)
    for number, (out, words, command) in runs_.items():
        command.until(lambda out=out: rows(out) > 3)
        command.send(number)
        (command.folder / "go").touch()
        code, _, err = command.end()
        assert code == 130, err
        assert "Traceback" not in err
        assert "\nStopping after this step; Ctrl-C again stops at once\n" in err
        (checkpoint,) = runs.complete_checkpoints(out)
        assert f"{checkpoint} is saved" in err
        typed = shlex.split(err.strip().splitlines()[-1])
        assert typed == [sys.executable, "-m", "tigerdiff", *map(str, words), "--resume"]
        assert rows(out) == runs.read_state(checkpoint)["step"]
    code, said, err = start(*typed[3:]).end()
    assert (code, "step-000060 is ready" in said) == (0, True), err
    assert rows(out) == 60


def test_under_nohup_a_hangup_does_not_end_the_run(photos, tmp_path, start):
    ignoring = start(
        "train", "--data", photos, *TINY, "--out", tmp_path / "nohup", "--steps", 20,
        before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + HELD,
    )  # fmt: skip
    ignoring.until(lambda: rows(tmp_path / "nohup") > 1)
    ignoring.send(signal.SIGHUP)
    (ignoring.folder / "go").touch()
    assert ignoring.end()[0] == 0
    assert rows(tmp_path / "nohup") == 20


TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
terminal = os.open({name!r}, os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
os.dup2(terminal, 1), os.dup2(terminal, 2), os.close(terminal)
sys.stdout, sys.stderr = (open(fd, "w", closefd=False) for fd in (1, 2))
signal.signal(signal.SIGHUP, signal.{hangup})
open(job["folder"] + "/there", "w").close()
"""


def test_a_closed_terminal_saves_and_under_nohup_the_run_continues(photos, tmp_path, start):
    """Nothing can be printed any more: no bar, no warning, and not what is ready."""
    for steps, hangup, code in ((100_000, "SIG_DFL", 130), (8, "SIG_IGN", 0)):
        out = tmp_path / hangup
        leader, follower = os.openpty()
        before = TERMINAL.format(name=os.ttyname(follower), hangup=hangup)
        words = ["train", "--data", photos, *TINY, "--out", out, "--steps", steps]
        command = start(*words, before=before)
        command.until((command.folder / "there").exists)
        if code:
            command.until(lambda out=out: rows(out) > 3)
        os.close(follower), os.close(leader)
        assert command.end()[0] == code
        checkpoint = runs.find_checkpoint(out)
        assert rows(out) == runs.read_state(checkpoint)["step"] >= 4


def test_a_reader_that_is_gone_ends_nothing(tmp_path, start):
    """As ``tigerdiff train 2>&1 | tee log``, whose tee was stopped; also with no stream at all."""
    pipe = """
import os, sys
ours, theirs = os.pipe()
os.dup2(theirs, 1), os.dup2(theirs, 2), os.close(ours)
sys.stdout, sys.stderr = (open(fd, "w", closefd=False) for fd in (1, 2))
"""
    closed = "import os, sys; os.close(1), os.close(2); sys.stdout = sys.stderr = None"
    for i, before in enumerate((pipe, closed)):
        words = ["--data", "painted", "--out", tmp_path / f"run{i}", "--steps", 2, *TINY]
        assert start("train", *words, before=before).end()[0] == 0
        assert rows(tmp_path / f"run{i}") == 2


SLOW = """
import time
from tigerdiff.training import loop, run

def slow_ddim(*arguments, **options):
    for step in ddim(*arguments, **options):
        open(job["folder"] + "/slow", "w").close()
        time.sleep(1)
        yield step

def slow_loss(*arguments):
    calls.append(1)
    if len(calls) > {at}:
        open(job["folder"] + "/slow", "w").close()
        time.sleep(60)
    return diffusion_loss(*arguments)

calls, ddim, diffusion_loss = [], run.ddim, loop.diffusion_loss
run.ddim, loop.diffusion_loss = slow_ddim, slow_loss
"""


def test_an_interrupt_answers_at_once_where_the_work_is_long(photos, tmp_path, start):
    """While a grid is drawn, which takes 50 seconds here; and, the second time, within a step."""
    words = ["train", "--data", photos, *TINY, "--out"]
    drawing = start(*words, tmp_path / "a", "--sample-every", "2", before=SLOW.replace("{at}", "9"))
    stepping = start(*words, tmp_path / "b", before=SLOW.replace("{at}", "2"))
    for command in (drawing, stepping):
        command.until((command.folder / "slow").exists)
        command.send(signal.SIGINT)
        err = command.folder / "err"
        command.until(lambda err=err: "Stopping after this step" in err.read_text())
        command.send(signal.SIGINT) if command is stepping else None
    for command, out in ((drawing, "a"), (stepping, "b")):
        code, _, err = command.end()
        assert code == 130, err
        assert "Traceback" not in err
        assert "step-000002 is saved. Continue with:" in err
        assert rows(tmp_path / out) == 2
        assert not (tmp_path / out / "samples").exists()


INTERRUPTED_IMPORT = """
import sys
for name in list(sys.modules):
    if name.startswith("{name}"):
        del sys.modules[name]

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "{name}":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
"""


def test_an_interrupt_within_an_import_leaves_no_traceback(photos, tmp_path, start):
    words = ["train", "--data", photos, "--out", tmp_path / "run", *TINY]
    for name in ("tigerdiff.commands.app", "tigerdiff.training.loop"):
        code, _, err = start(*words, before=INTERRUPTED_IMPORT.format(name=name)).end()
        assert code == 130
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_name_that_the_console_cannot_print_ends_nothing(tmp_path, start):
    out = tmp_path / "虎"
    words = ["render", "-n", 1, "--size", 16, "--out", out]
    western = "import sys; sys.stdout.reconfigure(encoding='latin-1')"
    code, said, err = start(*words, before=western).end()
    assert code == 0, err
    assert "\\u864e: 1 tigers of 16 x 16 pixels" in said


READ_ONLY_HOME = """
import os, tempfile
os.environ["HOME"], tempfile.tempdir = "/proc/nowhere", job["folder"]
os.environ.pop("XDG_CACHE_HOME", None)
"""


def test_a_home_that_cannot_be_written_to_costs_a_note_alone(photos, tmp_path, start):
    run = tmp_path / "run"
    command = start("train", "--data", photos, "--out", run, "--steps", 1, *TINY,
                    before=READ_ONLY_HOME)  # fmt: skip
    code, _, err = command.end()
    assert code == 0, err
    assert err.count(f"using {command.folder}") == 1 and "Traceback" not in err
    words = ["sample", "--checkpoint", run, "--out", tmp_path / "a.png", "-n", 1, "--steps", 2]
    code, _, err = start(*words, before=READ_ONLY_HOME).end()
    assert code == 0 and "Traceback" not in err
    assert (tmp_path / "a.png").exists()


def test_the_program_is_named_as_it_was_started(tmp_path, monkeypatch):
    script = tmp_path / "tigerdiff"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "argv", [str(script), "train"])
    assert program() == [str(script)]
    monkeypatch.setenv("PATH", str(tmp_path))
    if os.name != "nt":
        assert program() == ["tigerdiff"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py"), "train"])
    assert program() == [sys.executable, "-m", "tigerdiff"]


def test_home_is_expanded_and_the_advised_command_works(
    photos, tmp_path, tigerdiff_says, monkeypatch
):
    """A shell leaves ~ after --out= to the program."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    code, said, _ = tigerdiff_says("train", "--data", photos, "--out=~/x", "--steps", 1, *TINY)
    assert code == 0
    typed = shlex.split(said.splitlines()[-1])
    assert typed[-2:] == ["--checkpoint", str(tmp_path / "home/x")]
    for checkpoint in (typed[-1], "~/x"):
        words = ["--checkpoint", checkpoint, "--out", "~/new/a.png", "-n", 1, "--steps", 2]
        assert tigerdiff_says("sample", *words, "--force")[0] == 0
    assert (tmp_path / "home/new/a.png").exists()
    assert not (tmp_path / "~").exists()


def test_a_full_disk_is_named(tmp_path, tigerdiff_says, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() says it, without a file

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "grid.png"
    words = ["sample", "--checkpoint", "ddpm-tiger-32", "-n", 1, "--steps", 2, "--out", out]
    code, _, err = tigerdiff_says(*words)
    assert code == 1 and err.endswith(f"tigerdiff: the disk of {out} is full: make room\n")
    assert list(tmp_path.glob("grid*")) == []


def test_an_interrupt_before_the_first_step_says_so(photos, tmp_path, tigerdiff_says, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(examples, "read_folder", interrupted)
    code, _, err = tigerdiff_says("train", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 130
    assert err.endswith("Stopped; no checkpoint is saved: start again without --resume.\n")


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


def test_an_interrupted_rendering_says_the_command_that_resumes_it(tmp_path, start):
    commands = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        out = tmp_path / f"my tigers {number}"
        words = ["render", "--out", out, "-n", "400", "--size", "256"]
        commands[number] = out, words, start(*words)
    for number, (out, words, command) in commands.items():
        table = out / "metadata.csv"
        command.until(lambda table=table: table.exists() and len(read_tigers(table.parent)) >= 16)
        command.send(number)
        code, _, err = command.end()
        assert code == 130, err
        assert "Traceback" not in err
        there = len(read_tigers(out))
        assert f"Stopped; {there} of 400 tigers are in {out}. Continue with:" in err
        typed = shlex.split(err.strip().splitlines()[-1])
        assert typed == [sys.executable, "-m", "tigerdiff", *map(str, words), "--resume"]
    typed[typed.index("400")] = str(there + 1)
    assert start(*typed[3:]).end()[0] == 0
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


def test_a_condition_is_asked_for_in_words(tmp_path, tigerdiff_says, monkeypatch):
    run, asked = tmp_path / "run", []
    words = ["train", "--data", "painted", "--conditional", "--out", run, "--steps", 1, *TINY]
    assert tigerdiff_says(*words)[0] == 0
    assert json.loads((run / "config.json").read_text())["classes"]["age"] == ["cub", "adult"]

    def sample(*arguments, condition, guidance_scale, **options):
        asked.append((condition, guidance_scale))
        return drawn(*arguments, condition=condition, guidance_scale=guidance_scale, **options)

    drawn = tigerdiff.drawing.sample
    monkeypatch.setattr(tigerdiff.drawing, "sample", sample)
    draw = ["sample", "--checkpoint", run, "-n", 1, "--steps", 1, "--out", tmp_path / "a.png"]
    words = ["--fur", "white", "--condition", "age=cub", "--guidance", 2]
    assert tigerdiff_says(*draw, *words)[0] == 0
    assert asked == [({"fur": "white", "age": "cub"}, 2.0)]
    for words, sentence in [
        ([], r"a\.png exists: replace it with --force"),
        (["--force", "--fur", "pink"], "fur must be one of orange, white, golden, black"),
        (["--force", "--condition", "tail=long"], "'tail' is no attribute of this network: use"),
        (["--force", "--condition", "tail"], "--condition must be NAME=WORD"),
        (["--force", "--condition", "fur=black", "--fur", "white"], "fur is asked for twice"),
        (["--force", "--guidance", 2], "--guidance goes with a condition"),
    ]:
        code, _, err = tigerdiff_says(*draw, *words)
        assert code == 1
        assert re.search(sentence, one_sentence(err)), err


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
        ([*sample, "--fur", "white", "--age", "cub"], "is unconditional: leave out fur, age$"),
        ([*sample, "--device", "tpu"], "device must be one that this machine has: cpu"),
        ([*train, "--image-size", 100], "image_size 100 cannot be halved .* use 96 or 104"),
        ([*train, "--conditional"], "metadata.csv: conditional needs such a table"),
        ([*sample, "--sampler", "euler"], r"sampler must be one of"),
        ([*sample, "--steps", 1001], "steps must be .*1000"),
        ([*sample, "--out", tmp_path / "grid.txt"], r"grid\.txt: out must end in"),
        ([*sample, "--out", photos / "tiger0.png" / "grid.png"], r"tiger0\.png is no folder"),
        ([*train, "--data", tmp_path / "no"], "no does not exist"),
        ([*train, "--data", "https://tiger.test/a"], "data must be a path, not an address"),
        ([*train, "--out", "s3://tigers/a"], "out must be a path, not an address"),
        (["sample", "--checkpoint", "https://hub.test/a/b"], "or owner/name on the Hub, not an ad"),
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
        (["evaluate", "--images", photos, "--out", damaged], "damaged is a folder: choose"),
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
    assert 'pip install "tigerdiff[train]"' in one_sentence(err)


def test_a_full_gpu_is_one_sentence(finished, tigerdiff_says, monkeypatch, tmp_path):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(tigerdiff.drawing, "sample", full)
    monkeypatch.chdir(tmp_path)
    code, _, err = tigerdiff_says("sample", "--checkpoint", finished[0])
    assert code == 1
    assert one_sentence(err).endswith("there is not enough memory: lower -n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is not enough memory: lower -n"),
        (MemoryError("5 GB are needed: lower it"), "5 GB are needed: lower it"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "memory: lower -n"),
    ],
)
def test_too_little_memory_is_one_sentence(
    finished, tigerdiff_says, monkeypatch, tmp_path, error, said
):
    def full(*arguments, **options):
        raise error

    monkeypatch.setattr(tigerdiff.drawing, "sample", full)
    monkeypatch.chdir(tmp_path)
    code, _, err = tigerdiff_says("sample", "--checkpoint", finished[0])
    assert code == 1
    assert one_sentence(err).endswith(said)


def test_too_little_memory_for_training_names_its_options(
    photos, tigerdiff_says, monkeypatch, tmp_path
):
    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")

    monkeypatch.setattr(loop, "diffusion_loss", full)
    code, _, err = tigerdiff_says("train", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 1
    assert one_sentence(err).endswith("lower --batch-size, --channels or --image-size")


def test_a_place_that_cannot_be_written_to_is_named(tigerdiff_says, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = tigerdiff_says("render", "-n", 1, "--size", 16, "--out", tmp_path / "file/x")
    assert code == 1
    assert re.search(r"file.* cannot be used: ", one_sentence(err))
    assert "Errno" not in err


@pytest.mark.parametrize(
    "defect",
    [
        *(KeyError("x"), ValueError("from elsewhere"), RuntimeError("a")),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_defect_keeps_its_traceback(finished, monkeypatch, defect, tmp_path):
    def broken(*arguments, **options):
        raise defect

    monkeypatch.setattr(tigerdiff.drawing, "sample", broken)
    monkeypatch.setattr(sys, "argv", ["tigerdiff", "sample", "--checkpoint", str(finished[0])])
    monkeypatch.chdir(tmp_path)
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
        (["evaluate", "--images", "https://tiger.test/a"], "not an address"),
        (["render", "--out", "https://tiger.test/a"], "not an address"),
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


def test_help_gives_each_option_a_group_and_an_example():
    runner = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"})
    help_ = runner.invoke(app, ["train", "--help"]).output
    assert re.search(r"--resume +Continue", help_), "a flag takes no value"
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
    assert options.SAMPLERS in help_
    assert set(options.SAMPLERS.split("|")) == set(SAMPLERS)
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


def test_help_is_quick_and_each_option_of_train_is_explained():
    code = """
import contextlib, io, sys
from tigerdiff import cli
for words in ([], ["train"], ["sample"], ["evaluate"], ["render"]):
    sys.argv = ["tigerdiff", *words, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        cli.main()
print(sorted({"torch", "numpy", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    texts = options.argument_texts(TrainConfig.__doc__)
    assert texts.keys() == TrainConfig.__dataclass_fields__.keys()
    assert options.in_help(texts["resume"]) == "Continue from the newest checkpoint in --out."
    assert not [name for name, text in texts.items() if "  " in text or "\n" in text]
