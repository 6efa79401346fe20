"""What hidden tests compare with: the right answer, and the classic wrong ones by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def compare(
    what: str, got: Any, right: Any, wrong: Mapping[str, Any] | None = None, tol: float = 1e-4
) -> None:
    """Assert that an answer is right; if it is a known wrong one, say which mistake it is.

    Args:
        what: the answer's name, which begins the message.
        got: what the student's code returned: a tensor or a number.
        right: what is right.
        wrong: message to the answer that this mistake gives; equal to ``right`` ones are ignored.
        tol: relative and absolute tolerance.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    right = torch.as_tensor(right, dtype=torch.float64)
    answer = as_tensor(what, got)
    assert answer.shape == right.shape, (
        f"{what}: the shape is {tuple(answer.shape)}, not {tuple(right.shape)}"
    )
    if close(answer, right, tol):
        return
    for message, value in (wrong or {}).items():
        value = torch.as_tensor(value, dtype=torch.float64)
        if value.shape == right.shape and close(answer, value, tol):
            raise AssertionError(f"{what}: {message}")
    if not bool(answer.isfinite().all()):
        raise AssertionError(f"{what}: it holds values that are infinite or no numbers (nan)")
    error = (answer - right).abs().max().item()
    raise AssertionError(f"{what}: it differs from the right answer by up to {error:.3g}")


def as_tensor(what: str, got: Any) -> Tensor:
    """The answer as a float64 tensor.

    Raises:
        AssertionError: it is no tensor and no number.
    """
    try:
        return torch.as_tensor(got).to(torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise AssertionError(f"{what}: a {type(got).__name__} is no tensor and no number") from None


def close(a: Tensor, b: Tensor, tol: float) -> bool:
    """Whether two tensors agree to a relative and absolute tolerance."""
    return torch.allclose(a, b, rtol=tol, atol=tol, equal_nan=True)


def own_number(what: str, got: Any, rights: list[float], variant: int, tol: float = 1e-3) -> None:
    """Assert that a number is the right one of this student's variant.

    Args:
        what: the answer's name.
        got: the number handed in.
        rights: the right number of each variant.
        variant: this student's.
        tol: relative and absolute tolerance.

    Raises:
        AssertionError: it is wrong; if it is right for another variant, the message says so.
    """
    answer = as_tensor(what, got)
    assert answer.numel() == 1, f"{what}: one number is asked for"
    value = answer.item()
    near = [abs(value - right) <= tol * (1 + abs(right)) for right in rights]
    if near[variant]:
        return
    if any(near):
        others = ", ".join(str(i) for i, hit in enumerate(near) if hit)
        raise AssertionError(
            f"{what}: {value:g} is right for variant {others}, not for yours ({variant})"
        )
    raise AssertionError(f"{what}: {value:g} is not the right number for your variant ({variant})")


def leaderboard(space: Mapping[str, Any], what: str, **measures: float) -> None:
    """Append a student's line to the leaderboard, if the grader keeps one.

    Args:
        space: the globals of the test, with STUDENT and LEADERBOARD.
        what: was handed in, such as "points": each has a ranking of its own.
        measures: what was measured; the last line of a student counts.
    """
    if path := space.get("LEADERBOARD"):
        with open(path, "a", encoding="utf-8") as board:
            line = ",".join(f"{name}={value:.4g}" for name, value in measures.items())
            board.write(f"{space['STUDENT']},{what},{line}\n")
