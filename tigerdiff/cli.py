"""The command line: ``tigerdiff render``, ``train``, ``sample`` and ``evaluate``.

The commands are in `commands`. They import torch when they need it, so that help is quick, and
Ctrl-C ends them at once until it is imported: in the middle of an import nothing could be saved.
"""

import errno
import os
import re
import signal
import sys
import traceback


def main() -> None:
    """Run the command line. An error of the user's is one sentence on stderr and exit code 1."""
    signal.signal(signal.SIGINT, leave)
    try:
        run()
    except KeyboardInterrupt:
        leave()
    finally:
        signal.signal(signal.SIGINT, leave)  # a second Ctrl-C finds nothing left to do


def leave(*_: object) -> None:
    """End at once, as Ctrl-C does in a shell."""
    os._exit(130)


def run() -> None:
    """Run the command that was typed, and turn what a user can mend into a sentence."""
    from tigerdiff.commands.app import app
    from tigerdiff.commands.shell import open_streams

    open_streams()
    try:
        app(prog_name="tigerdiff")
    except (MemoryError, RuntimeError) as error:
        # torch has an error of its own on a GPU, and words alone on the CPU.
        if not isinstance(error, MemoryError) and not re.search(
            "out of memory|not enough memory|can't allocate memory", str(error)
        ):
            raise
        if type(error) is MemoryError and str(error):  # of ours, which says how much is needed
            fail(str(error))
        less = "--batch-size, --channels or --image-size" if "train" in sys.argv[1:2] else "-n"
        fail(f"there is not enough memory: lower {less}")
    except (ArithmeticError, ImportError, OSError, ValueError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        ours = str(frame.f_globals.get("__name__")).startswith("tigerdiff.")
        if not (ours or isinstance(error, OSError)):
            raise  # a defect, and its traceback is needed to mend it
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            fail(f"the disk{f' of {error.filename}' if error.filename else ''} is full: make room")
        if isinstance(error, OSError) and error.filename and error.strerror:
            fail(f"{error.filename} cannot be used: {error.strerror}")
        fail(str(error))


def fail(sentence: str) -> None:
    """Print an error in one sentence, and end."""
    print(f"tigerdiff: {sentence}", file=sys.stderr)
    raise SystemExit(1)
