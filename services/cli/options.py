"""Options that several command groups share, and how a command ends."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1)]


def leave(code: int) -> None:
    """End a command with an exit code; 0 just returns."""
    if code:
        raise typer.Exit(code)
