"""The table, on the terminal and as docs/benchmarks.md."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.rows import Finding, Line

_HEADINGS = ("what", "must", "measured", "beside it", "met", "command")
_INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. Ratios compare figures of one run on one machine: whatever is compared was
repeated in turns (A, B, A, B), each in a process of its own, and the fastest repetition of each counts, because noise
on a shared machine only ever slows. Only `swath --help` is a median.
"""


def print_report(findings: dict[str, Finding], machine: Sequence[str]) -> None:
    """One table, then machine and remarks."""
    console = Console()
    table = Table(*_HEADINGS[:-1], show_lines=True)
    for line in _lines(findings):
        table.add_row(line.what, line.must, line.measured, line.peer, _verdict(line), style=_style(line))
    console.print(table)
    for sentence in (*machine, *_remarks(findings)):
        console.print(sentence, markup=False, highlight=False)


def write_report(path: Path, findings: dict[str, Finding], machine: Sequence[str]) -> None:
    """Markdown with the machine, the table and the remarks."""
    text = [_INTRODUCTION, "## The machine", "", *(f"- {line}" for line in machine), "", "## The table", ""]
    text += [f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
    for name, finding in findings.items():
        for line in finding.lines:
            cells = (
                line.what,
                line.must,
                line.measured,
                line.peer,
                _verdict(line),
                f"`python -m tests.bench --only {name}`",
            )
            text.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    text += ["", "## Remarks", "", *(f"- {remark}" for remark in _remarks(findings)), ""]
    path.write_text("\n".join(text), encoding="utf-8")


def _lines(findings: dict[str, Finding]) -> list[Line]:
    return [line for finding in findings.values() for line in finding.lines]


def _remarks(findings: dict[str, Finding]) -> list[str]:
    return [remark for finding in findings.values() for remark in finding.remarks]


def _verdict(line: Line) -> str:
    return {True: "yes", False: "no", None: "not measured"}[line.met]


def _style(line: Line) -> str:
    return {True: "green", False: "red", None: "yellow"}[line.met]
