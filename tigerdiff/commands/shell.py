"""What a command knows of its shell: its own words, its streams, and the signals that end it."""

import errno
import io
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Ctrl-C, the end of a job, a closed terminal, and what clusters announce the end of a job with.
ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def on_ending(handler: Callable[..., Any]) -> None:
    """Call the handler at each signal that asks for an end; under nohup a closed terminal does not.

    Ctrl-C is handled also where a shell has it ignored, as for jobs in the background.
    """
    for name in ENDING:
        number = getattr(signal, name, None)  # Windows has not all of them
        if number and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, handler)


class Listener(io.FileIO):
    """A terminal or a pipe: once it is closed, what is written to it is dropped."""

    def write(self, text: Any) -> int:
        """Write bytes, and take them as written where no reader is left."""
        try:
            return super().write(text)
        except OSError as error:
            # EINVAL is what Windows says of a closed pipe.
            if error.errno not in (errno.EIO, errno.EPIPE, errno.EINVAL if os.name == "nt" else 0):
                raise
            return len(text)


def open_streams() -> None:
    """Keep commands running when the terminal is closed, or cannot print a name."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed from the start
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - it stays open
            continue
        buffer = getattr(stream, "buffer", None)
        file = getattr(buffer, "raw", buffer)
        if isinstance(file, io.FileIO) and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raw = Listener(file.fileno(), "w", closefd=False)
            stream = io.TextIOWrapper(
                io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=True
            )
            setattr(sys, name, stream)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def check_place(out: Path) -> None:
    """Make the folder of a file; raise OSError if it cannot be one, or cannot be written to."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Only writing shows whether one may; on Windows, tempfile would try again and again.
        (probe := out.with_name(f"{out.name}.{os.getpid():032}.part")).touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{out.parent} is no folder: choose another --out") from None
    except OSError as error:
        what = f"{out.parent} cannot be written to ({error.strerror})"
        raise PermissionError(f"{what}: choose another --out") from None


def resume_command() -> str:
    """Return the line that resumes the command that was interrupted."""
    options = [word for word in sys.argv[1:] if word != "--resume"]
    return typed([*program(), *options, "--resume"])


def program() -> list[str]:
    """Return the words that start this program again, however it was started."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return [sys.executable, "-m", "tigerdiff"]
    found = shutil.which(path.name)
    on_path = found and Path(found).parent.resolve() == path.parent.resolve()
    return [path.name if on_path else sys.argv[0]]


def typed(words: list[str]) -> str:
    """Return the words as a line for the shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
