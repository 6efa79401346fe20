"""JSON and weights in files: written whole; where one is damaged, a sentence names the remedy."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, nn

from tigerdiff.data.files import replacing


@contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn the errors of reading a file, and of using what is in it, into one ValueError."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent} is damaged ({path.name} is missing): {remedy}") from error
    except (KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged ({reason}): {remedy}") from error


def read_json(path: Path, remedy: str, kinds: Mapping[str, type], own: int = 1) -> dict[str, Any]:
    """Return the object in a JSON file, with an entry of its kind for each name.

    Raise ValueError if it is missing or damaged, or its format is that of a newer tigerdiff.
    """
    with damage_named(path, remedy):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    if (its := content.get("format", own)) != own:
        what = f"{path.parent} has format {its} and this tigerdiff reads format {own}"
        raise ValueError(f"{what}: use the one that wrote it, or pip install --upgrade tigerdiff")
    with damage_named(path, remedy):
        for name, kind in kinds.items():
            if not isinstance(content.get(name), kind):
                raise ValueError(f"its {name} is missing or not what it should be")
    return content


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write an object as JSON, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def set_weights(
    model: nn.Module, tensors: Mapping[str, Tensor], described: str, assign: bool = False
) -> None:
    """Give a network these weights; raise ValueError unless they are those of the one described."""
    try:
        model.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:  # which lists every weight, on a line each
        raise ValueError(f"its weights do not fit the network in {described}") from error
