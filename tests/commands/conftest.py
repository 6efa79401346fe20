"""A process that has imported torch once, and from which commands are forked to be interrupted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

SERVER = """
import json, os, signal, sys, traceback
import accelerate, torch, torchvision.utils, tqdm
from tigerdiff import cli, drawing
from tigerdiff.commands import app
from tigerdiff.data import painted, photos
from tigerdiff.pretrained import load
from tigerdiff.training import loop, run

def command(job):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{job['folder']}/{name}", os.O_WRONLY | os.O_CREAT, 0o600), fd)
    os.chdir(job["folder"])
    torch.set_num_threads(1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    sys.argv = ["tigerdiff/__main__.py", *job["words"]]
    code = 1
    try:
        exec(job["before"], {"job": job})
        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

def write(job, name, text):
    with open(f"{job['folder']}/{name}.part", "w") as file:
        file.write(text)
    os.replace(f"{job['folder']}/{name}.part", f"{job['folder']}/{name}")

for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        sys.stdin.close()
        pid = os.fork()
        if pid == 0:
            command(job)
        write(job, "pid", str(pid))
        _, status = os.waitpid(pid, 0)
        write(job, "code", str(os.waitstatus_to_exitcode(status)))
        os._exit(0)
"""


class Command:
    """A command in a process of its own: ``tigerdiff`` with these words."""

    def __init__(self, server, folder, words, before):
        self.folder = folder
        folder.mkdir()
        job = {"folder": str(folder), "words": [*map(str, words)], "before": before}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        self.pid = int(self.text("pid"))

    def until(self, happened):
        """Wait until something has happened, while the command runs."""
        deadline = time.monotonic() + 200
        while not happened():
            assert not (self.folder / "code").exists(), (self.folder / "err").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def text(self, name):
        """Wait for one of the files that the server writes."""
        deadline = time.monotonic() + 200
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return (self.folder / name).read_text()

    def send(self, number):
        os.kill(self.pid, number)

    def end(self):
        """Wait for the end; returns the exit code and what was said on stdout and stderr."""
        code = int(self.text("code"))
        return code, (self.folder / "out").read_text(), (self.folder / "err").read_text()


@pytest.fixture(scope="session")
def forking():
    if os.name == "nt":
        pytest.skip("Windows cannot fork")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    yield server
    server.stdin.close()
    server.wait(timeout=60)


@pytest.fixture
def start(forking, tmp_path):
    """A function that starts a command; what has not ended by the end of the test is killed."""
    commands = []

    def begin(*words, before=""):
        folder = tmp_path / f"command{len(commands)}"
        commands.append(Command(forking, folder, words, before))
        return commands[-1]

    yield begin
    for command in commands:
        if not (command.folder / "code").exists():
            command.send(signal.SIGKILL)
