"""Which variant of an assignment a student gets."""

import hashlib
import re
from pathlib import Path

VARIANTS = 8
LINE = re.compile(r"^VARIANT = \d+$", re.MULTILINE)


def variant_of(student: str, roster: Path | None) -> int:
    """Return the variant of a student: 1 ... 7 by a hash of the id, 0 if no roster names the id.

    Args:
        student: the id that nbgrader knows.
        roster: a text file with one id in each line; the variants differ from term to term with
            its first line, which may be any comment such as "# term: autumn 2026".
    """
    lines = roster.read_text(encoding="utf-8-sig").split("\n") if roster and roster.exists() else []
    if student not in (line.strip() for line in lines):
        return 0
    term = lines[0] if lines[0].startswith("#") else ""
    digest = hashlib.sha256(f"{term}/{student}".encode()).digest()
    return 1 + int.from_bytes(digest[:8], "big") % (VARIANTS - 1)


def with_variant(source: str, variant: int) -> str:
    """The source of a cell with the line ``VARIANT = ...`` set."""
    return LINE.sub(f"VARIANT = {variant}", source)
