"""A small picture of a map for the terminal: two rows of pixels per line of text."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from services.core.model.contract import Contract
from services.core.raster.cog import read_overview

WIDTH = 64


#: One sign per class where colours do not tell classes apart: a pipe, a log, a terminal of 16. A space is nodata.
SIGNS = "#:,o@~=+x%*^&!?"


def show_map(console: Console, path: Path, contract: Contract) -> None:
    """Print the map's classes as coloured half blocks, or as signs where colours are few; and each class's share."""
    classes = read_overview(path, max_px=WIDTH)  # (h, w) uint8
    colors = {c.value: c.color for c in contract.classes}
    signs = {c.value: SIGNS[c.value % len(SIGNS)] for c in contract.classes}
    plain = console.color_system in (None, "standard")
    if len(classes) % 2:
        classes = np.vstack([classes, np.full((1, classes.shape[1]), 255, np.uint8)])
    for upper, lower in zip(classes[::2], classes[1::2], strict=True):
        line = Text()
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            if plain:
                line.append(signs.get(top, " "), style=colors.get(top, ""))
            else:
                line.append("▀", style=f"{colors.get(top, '#000000')} on {colors.get(bottom, '#000000')}")
        console.print(line)
    known = classes[classes != 255]
    legend = Text()
    for c in contract.classes:
        share = float((known == c.value).mean()) if known.size else 0.0
        legend.append(f"{signs[c.value] if plain else '■'} ", style=c.color).append(f"{c.name} {share:.0%}   ")
    console.print(legend, soft_wrap=True)
