"""What people see: one console for results, one for progress and notes, JSON where asked for."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.cli.table import lay_out
from services.core.json_line import json_line

# Piped output has no edge to fold at. No emoji: a path may hold `:x:`.
console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)
notes = Console(stderr=True, highlight=False, emoji=False)


def say(text: str, *, lead: str = "", style: str = "bold") -> None:
    """One line of the result, letter by letter: what users name may look like rich's markup; `lead` stands out."""
    console.print(Text.assemble((lead, style), text), soft_wrap=True)


def note(text: str) -> None:
    """One line on stderr, letter by letter."""
    notes.print(Text(text), soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line, the last of stdout."""
    sys.stdout.write(json_line(value, default=str, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, spare: Sequence[str] = (), prose: str | None = None
) -> None:
    """A plain table, on a terminal as wide as that; see `lay_out`."""
    width = console.width if console.is_terminal else None
    heading, *lines = lay_out(columns, rows, width=width, spare=spare, prose=prose)
    say("", lead=heading)
    for line in lines:
        say(line)


def print_facts(facts: Mapping[str, object]) -> None:
    """Name and value, one to a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"  {value}", lead=f"{name:<{width}}")


@contextmanager
def tile_progress(label: str, total: int, *, done: int = 0) -> Iterator[Any]:
    """A bar on a terminal, silence elsewhere; yields `advance(tiles, masked)`, safe to call from threads."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles"),
        TextColumn("[red]{task.fields[masked]}[/red]"),
        TimeRemainingColumn(),
        console=notes,
        disable=not notes.is_terminal,
        transient=False,
    )
    with progress:
        task = progress.add_task(label, total=total, completed=done, masked="")
        masked_so_far = 0

        def advance(tiles: int, masked: int) -> None:
            nonlocal masked_so_far
            masked_so_far += masked
            progress.update(task, advance=tiles, masked=f"{masked_so_far} masked" if masked_so_far else "")

        yield advance


def human_bytes(size: float) -> str:
    """E.g. `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
