"""The command line: ``tigerdiff render``, ``train``, ``sample`` and ``evaluate``.

The commands are in `commands`. They import torch when they need it, so that help is quick, and
nothing is imported before Ctrl-C is handled.
"""

import os
import re
import sys
import traceback


def main() -> None:
    """Run the command line. An error of the user's is one sentence on stderr and exit code 1."""
    try:
        run()
    except KeyboardInterrupt:
        os._exit(130)  # also from the middle of an import, which would complain on its way out


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
        if isinstance(error, OSError) and error.filename and error.strerror:
            fail(f"{error.filename} cannot be used: {error.strerror}")
        fail(str(error))


def fail(sentence: str) -> None:
    """Print an error in one sentence, and end."""
    print(f"tigerdiff: {sentence}", file=sys.stderr)
    raise SystemExit(1)
