"""The command line: ``tigerdiff render``, ``train``, ``sample`` and ``evaluate``.

The commands are in `commands`. They import torch when they need it, so that help is quick, and
nothing is imported before Ctrl-C is handled.
"""

import os
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
    except (MemoryError, RuntimeError) as error:  # torch has no error of its own on the CPU
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        fail("there is not enough memory: lower --batch-size, --channels or --image-size")
    except (ArithmeticError, ImportError, OSError, ValueError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        ours = str(frame.f_globals.get("__name__")).startswith("tigerdiff.")
        if not (ours or isinstance(error, OSError)):
            raise  # a defect, and its traceback is needed to mend it
        fail(str(error))


def fail(sentence: str) -> None:
    """Print an error in one sentence, and end."""
    print(f"tigerdiff: {sentence}", file=sys.stderr)
    raise SystemExit(1)
