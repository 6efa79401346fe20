"""The files that grow with a run: log.csv, a line for each step, and log.txt, the warnings."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tigerdiff.data.files import replacing

COLUMNS = "step,loss,images_per_second,learning_rate,seconds"


class RunLog:
    """The two log files of a run's folder.

    Args:
        out: the run's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.table: IO[bytes] | None = None
        path = self.out / "log.txt"  # names photos, which need not be UTF-8
        self.warnings = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        self.warnings.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.warnings.setLevel(logging.WARNING)
        logging.getLogger("tigerdiff").addHandler(self.warnings)

    def begin(self, start: int) -> float:
        """Open log.csv without the lines after ``start``, which come again, and half a line.

        Returns:
            The loss in the last line that stays; NaN where there is none.
        """
        path, kept = self.out / "log.csv", []
        if start and path.exists():
            rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
            kept = [row for row in rows if len(row) == 5 and int(row[0]) <= start]
        self.seconds = float(kept[-1][-1]) if kept else 0.0
        with replacing(path) as part:
            part.write_text("\n".join([COLUMNS, *(",".join(row) for row in kept)]) + "\n")
        self.table = path.open("ab", buffering=0)  # on a full disk nothing waits to be written
        self.loss = float(kept[-1][1]) if kept else math.nan
        return self.loss

    def write(self, records: Sequence[tuple[int, float, float, float]], seconds: float) -> None:
        """Add (step, loss, images per second, learning rate) of steps that took ``seconds``."""
        assert self.table is not None, "begin() comes first"
        lines = []
        for step, loss, speed, learning_rate in records:
            self.seconds += seconds / len(records)
            lines.append(f"{step},{loss:.6g},{speed:.4g},{learning_rate:.6g},{self.seconds:.3f}\n")
        self.table.write("".join(lines).encode())
        self.loss = records[-1][1]

    def close(self) -> None:
        """Close both files."""
        logging.getLogger("tigerdiff").removeHandler(self.warnings)
        self.warnings.close()
        if self.table:
            self.table.close()
