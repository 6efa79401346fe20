"""Options of the command line, which are read from a signature and its docstring."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tigerdiff.checks import check_path

FEWEST = 20  # pictures that can be judged, as the kernel distance needs
SAMPLERS = "ddpm|ddim|dpm_solver|heun"
METAVARS = {"checkpoint": "NAME|DIR", "sampler": SAMPLERS, "device": "cpu|cuda|mps", "out": "FILE"}
LEAST = {"n": 1, "steps": 1, "seed": 0}
KINDS: dict[str, Any] = {"int": int, "float": float, "bool": bool, "list[str]": list[str]}


def with_options(
    metavars: Mapping[str, str] = METAVARS,
    least: Mapping[str, int] = LEAST,
    groups: Mapping[Any, Sequence[str]] | None = None,
    config: type | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that its own signature and docstring describe, or a dataclass's.

    Args:
        metavars: what the help shows for an option's value, where its type says too little.
        least: the smallest value of whole numbers.
        groups: heading in the help to its options; of a dataclass only these become options.
        config: the dataclass whose fields a command with ``**options`` takes.
    """
    headings = {name: heading for heading, names in (groups or {}).items() for name in names}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        known = inspect.signature(config or command).parameters
        about = argument_texts((config or command).__doc__ or "")
        options = []
        for name in headings if config else known:
            kind = str(known[name].annotation).removesuffix(" | None")
            flag = "-n" if name == "n" else "--" + name.replace("_", "-")
            option = typer.Option(
                f"{flag}/--no-{flag[2:]}" if known[name].default is True else flag,
                help=in_help(about.get(name, "")),
                metavar=metavars.get(name, " " if kind == "bool" else None),
                min=least.get(name),
                parser=path if kind == "Path" else None,
                rich_help_panel=headings.get(name),
                show_default=known[name].default is not None,
            )
            annotation: Any = Annotated[KINDS.get(kind, str), option]
            options.append(known[name].replace(kind=inspect.Parameter.KEYWORD_ONLY,
                                               annotation=annotation))  # fmt: skip
        command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in options}
        return command

    return decorate


def path(text: str) -> Path:
    """Return a path in which ~ is the home folder, also where the shell has left it."""
    try:
        return check_path("it", text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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
