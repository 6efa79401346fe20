"""The commands of ``tigerdiff``, put together."""

import inspect
from importlib.metadata import version
from typing import Annotated

import typer

from tigerdiff.commands.evaluate import evaluate_command
from tigerdiff.commands.render import render_command
from tigerdiff.commands.sample import sample_command
from tigerdiff.commands.train import train_command

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
for command in (render_command, train_command, sample_command, evaluate_command):
    description = inspect.cleandoc(command.__doc__ or "").partition("\nArgs:")[0]
    app.command(command.__name__.removesuffix("_command"), help=description)(command)


def show_version(wanted: bool) -> None:
    """Print the version and end, if it is asked for."""
    if wanted:
        typer.echo(f"tigerdiff {version('tigerdiff')}")
        raise typer.Exit


@app.callback()
def tigerdiff(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Diffusion models on tigers: paint or photograph them, train, draw new ones, judge them."""
