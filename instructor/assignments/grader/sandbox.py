"""Run a submission where it can do no harm, and ask it for values and functions.

Its process has no network and sees no other process (Linux namespaces), reads only Python and the
library and writes only in a folder of its own that holds little (Landlock, tmpfs), and has limits
on seconds, memory, files and output. What ends it or takes too long fails the test at hand only:
the next test gets a new process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import tigerdiff
from grader.wire import Channel

HERE = Path(__file__).parent
LIBRARY = Path(tigerdiff.__file__).parent.parent
APART = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
IN_TMPFS = 'mount -t tmpfs -o size=128m none "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Limits:
    """What a submission may take.

    Args:
        seconds: for a cell, or for one call of a function.
        total: seconds for all of it, over all its processes.
        cpu: seconds of CPU of one process.
        memory: bytes beyond what the imports take.
        file: bytes of one file.
        output: characters that are printed.
        processes: and threads, at a time.
        forbidden: names of the library that the student shall write.
    """

    seconds: float = 20
    total: float = 90
    cpu: int = 60
    memory: int = 2_000_000_000
    file: int = 64_000_000
    output: int = 1_000_000
    processes: int = 64
    forbidden: tuple[str, ...] = ()


class SubmissionError(Exception):
    """What a submission did wrong, in a sentence for the student."""


@cache
def can_be_alone() -> bool:
    """Whether this machine allows user namespaces (some containers do not)."""
    command = [*APART, "sh", "-c", IN_TMPFS, "sh", tempfile.gettempdir(), "true"]
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


class Sandbox:
    """A submission in a process of its own.

    Args:
        limits: what it may take.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.ends = time.monotonic() + self.limits.total
        self.cells: list[str] = []
        self.process: subprocess.Popen | None = None
        self.printed = ""
        self.protected: dict[str, bool] = {}

    def run(self, cell: str) -> float:
        """Run a cell.

        Returns:
            The seconds of CPU that it took, as the system counts them.

        Raises:
            SubmissionError: it fails, is too slow, or ends the process.
        """
        alive = self._start()
        began = self._cpu_seconds()
        self._ask({"cell": cell}, alive)
        self.cells.append(cell)
        return self._cpu_seconds() - began

    def get(self, name: str) -> Any:
        """Return what the submission calls by this name; a function is run over there.

        Raises:
            NameError: there is no such name.
            SubmissionError: it is nothing that can be handed in.
        """
        return self._ask({"name": name}, self._start())

    def close(self) -> None:
        """End its process and remove its folder."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.channel.sock.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.process = None

    def _cpu_seconds(self) -> float:
        """What its process has computed up to now; read here, where nothing can change it."""
        outer, seconds = psutil.Process(self.process.pid), 0.0
        for process in (outer, *outer.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that has just ended
                seconds += sum(process.cpu_times()[:4])  # its own, and of children that have ended
        return seconds

    def _start(self) -> Channel:
        """Start a process, unless there is one, and run the cells that were good."""
        if self.process:
            return self.channel
        if time.monotonic() > self.ends:
            raise SubmissionError(f"the notebook took its {self.limits.total:g} seconds")
        ours, theirs = socket.socketpair()
        self.folder = tempfile.mkdtemp(prefix="submission-")
        number, alone = theirs.fileno(), can_be_alone()
        limits = json.dumps({**asdict(self.limits), "alone": alone})
        command = [sys.executable, "-s", str(HERE / "student.py")]
        command += [str(number), self.folder, str(LIBRARY), limits]
        if alone:
            command = [*APART, "sh", "-c", IN_TMPFS, "sh", self.folder, *command]
        clean = {"HOME": self.folder, "TMPDIR": self.folder, "MPLCONFIGDIR": self.folder}
        clean |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"}
        clean |= {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, pass_fds=[number], env=clean, stdin=quiet, stdout=quiet, stderr=quiet
        )
        theirs.close()
        self.channel = channel = Channel(ours)
        channel.call = lambda number, args, kwargs: self._ask(
            {"call": number, "args": args, "kwargs": kwargs}, channel
        )
        try:
            ready = channel.receive(time.monotonic() + 120)
        except (EOFError, TimeoutError) as error:
            self.close()
            raise RuntimeError("the sandbox does not start: is this Linux with unshare?") from error
        self.protected = {"network and processes": alone, "files": ready["files"]}
        self.ends = max(self.ends, time.monotonic() + 1)
        for cell in list(self.cells):
            self._ask({"cell": cell}, channel)
        return channel

    def _ask(self, message: dict[str, Any], channel: Channel) -> Any:
        """Send a question and serve the calls that come before the answer.

        Raises:
            SubmissionError: with what went wrong over there.
            NameError: the name that was asked for is not there.
        """
        if channel is not self.channel or not self.process:
            raise SubmissionError("the function belongs to a process that has ended")
        deadline = min(time.monotonic() + self.limits.seconds, self.ends)
        ours: list[BaseException] = []
        try:
            channel.send(message, deadline)
            while "callback" in (reply := channel.receive(deadline)):
                channel.send(self._called(channel.functions, reply, ours), deadline)
        except TimeoutError:
            self.close()
            raise SubmissionError(
                f"no answer within {self.limits.seconds:g} seconds: is there a loop without end?"
            ) from None
        except (EOFError, OSError):
            self.close()
            raise SubmissionError(
                "the notebook's process ended in the middle of its work: it took too much time or "
                "memory, or ended itself"
            ) from None
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            self.close()
            raise SubmissionError(f"the answer cannot be read: {error}") from None
        self.printed += str(reply.get("printed", ""))[:4000]
        if ours:
            raise ours[0]
        if "error" in reply:
            raise SubmissionError(str(reply["error"]))
        if "missing" in reply:
            raise NameError(f"{message['name']} is not defined: was its cell run and kept?")
        return reply.get("value")

    @staticmethod
    def _called(
        functions: list[Callable[..., Any]], reply: dict[str, Any], ours: list[BaseException]
    ) -> dict[str, Any]:
        """Call one of the test's own functions; what it asserts counts when the answer is there."""
        try:
            return {"value": functions[reply["callback"]](*reply["args"], **reply["kwargs"])}
        except Exception as error:
            if isinstance(error, AssertionError):
                ours.append(error)
            return {"error": f"{type(error).__name__}: {error}"}


class SameProcess:
    """The same for code that is trusted: no process and no limits, for quick tests."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""

    def run(self, cell: str) -> float:
        """Run a cell here; returns its seconds of CPU."""
        began = time.process_time()
        try:
            exec(compile(cell, "<cell>", "exec"), self.space)
        except Exception as error:
            raise SubmissionError(f"{type(error).__name__}: {error}") from error
        return time.process_time() - began

    def get(self, name: str) -> Any:
        """Return what the cells call by this name."""
        if name not in self.space:
            raise NameError(f"{name} is not defined: was its cell run and kept?")
        return self.space[name]

    def close(self) -> None:
        """Nothing is left to end."""
