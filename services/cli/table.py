"""Tables as lines of text: where they are too wide, what is long is shortened and what is least needed left out."""

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

_GAP = "  "
#: No cell is made shorter than this: dates, digests and numbers stay whole.
_LEAST = 16


def lay_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None,
    spare: Sequence[str] = (),
    prose: str | None = None,
) -> list[str]:
    """The lines of a table, its heading first; ids in the first column are never cut.

    Args:
        columns: Their names.
        rows: A cell for each column.
        width: Of the terminal; None: as wide as it comes.
        spare: Columns to leave out where there is no room, the least needed first.
        prose: The last column, if it holds sentences: they go on in the next line, word by word.
    """
    table = {name: [name, *(" ".join(str(row[at]).splitlines()) for row in rows)] for at, name in enumerate(columns)}
    widths = {name: max(map(cell_len, cells)) for name, cells in table.items()}
    if width is not None:
        widths = _fit(_room(table, widths, width, spare), width)
    told = [{name: table[name][at] for name in widths} for at in range(len(rows) + 1)]
    return [line.rstrip() for cells in told for line in _row(cells, widths, prose)]


def shorten(text: str, width: int) -> str:
    """As wide as that at most: beginning and end, where names differ, with an ellipsis between."""
    if cell_len(text) <= width:
        return text
    head, tail = (width - 1) - (width - 1) // 2, (width - 1) // 2
    end = len(text) - tail
    while cell_len(text[end:]) > tail:  # some letters take two cells
        end += 1
    return f"{set_cell_size(text, head).rstrip()}…{text[end:].lstrip()}"


def _row(cells: dict[str, str], widths: dict[str, int], prose: str | None) -> list[str]:
    start = _GAP.join(_pad(cell, widths[name]) for name, cell in cells.items() if name != prose)
    if prose not in cells:
        return [start]
    first, *more = textwrap.wrap(cells[prose], widths[prose]) or [""]
    indent = " " * cell_len(start)
    return [f"{start}{_GAP}{first}", *(f"{indent}{_GAP}{line}" for line in more)]


def _pad(text: str, width: int) -> str:
    short = shorten(text, width)
    return short + " " * (width - cell_len(short))


def _room(table: dict[str, list[str]], widths: dict[str, int], width: int, spare: Sequence[str]) -> dict[str, int]:
    """Widths of the columns that there is room for: empty ones go first, then spare ones, then from the right."""
    first, *others = widths
    empty = [name for name in others if not any(table[name][1:])]
    going = list(dict.fromkeys([*empty, *(name for name in spare if name in others), *reversed(others)]))
    kept = dict(widths)
    while (
        len(kept) > 1 and _total([size if name == first else _least(name, size) for name, size in kept.items()]) > width
    ):
        del kept[going.pop(0)]
    return kept


def _fit(widths: dict[str, int], width: int) -> dict[str, int]:
    """The widest columns give way first."""
    fitted = dict(widths)
    _, *others = fitted
    while _total(list(fitted.values())) > width:
        able = [name for name in others if fitted[name] > _least(name, widths[name])]
        if not able:
            break  # the first column alone is too wide
        fitted[max(able, key=lambda name: fitted[name])] -= 1
    return fitted


def _least(name: str, size: int) -> int:
    return min(size, max(_LEAST, cell_len(name)))


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)
