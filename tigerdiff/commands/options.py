"""Options of the command line: those that commands share, and those read from a dataclass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated

import typer

FEWEST = 20  # pictures that can be judged, as the kernel distance needs
SAMPLERS = "ddpm|ddim|dpm_solver|heun"
CHECKPOINT = (
    "a shipped model (ddpm-tiger-64), a run's folder (its newest checkpoint), an exported folder, "
    "or owner/name on the Hugging Face Hub. What exists as a folder is taken for that."
)
Device = Annotated[
    str,
    typer.Option(
        metavar="cpu|cuda|mps", show_default=False, help="Where to compute; default: a GPU if any."
    ),
]


def path(text: str) -> Path:
    """Return a path in which ~ is the home folder, also where the shell has left it."""
    return Path(text).expanduser()


def with_options(
    config: type,
    groups: Mapping[str | None, Sequence[str]],
    metavars: Mapping[str, str],
    least: Mapping[str, int],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options that are fields of a dataclass, with its defaults and docstring.

    Args:
        config: the dataclass; its docstring describes each field under "Args:".
        groups: heading in the help to the names of fields.
        metavars: what the help shows for a field's value, where its type says too little.
        least: the smallest value of whole numbers.

    Returns:
        A decorator for a function that takes the options as keyword arguments.
    """
    known = {field.name: field for field in fields(config)}
    about = argument_texts(config.__doc__ or "")
    kinds = {"int": int, "float": float, "bool": bool}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = []
        for group, names in groups.items():
            for name in names:
                field = known[name]
                kind = kinds.get(str(field.type), str)
                flag = "--" + name.replace("_", "-")
                option = typer.Option(
                    flag,
                    help=in_help(about.get(name, "")),
                    metavar=metavars.get(name),
                    min=least.get(name),
                    rich_help_panel=group,
                    show_default=field.default is not None,
                )
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                parameters.append(
                    inspect.Parameter(
                        name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=default,
                        annotation=Annotated[kind, option],
                    )
                )
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def argument_texts(docstring: str) -> dict[str, str]:
    """Return what a docstring in Google style says of each argument, on one line each."""
    section = inspect.cleandoc(docstring).partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def in_help(text: str) -> str:
    """Return what a docstring says of an argument, as the help of an option says it."""
    text = re.sub(r"``(\w+)``", lambda name: "--" + name[1].replace("_", "-"), text)
    text = text.replace("None: ", "default: ")
    return text[:1].upper() + text[1:]
