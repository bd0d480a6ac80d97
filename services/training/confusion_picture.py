"""A confusion matrix as a picture: truth down, answers across, each row's share as its shade."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL, _PAD, _FONT = 64, 16, 15
_INK, _PAPER, _QUIET = (20, 24, 32), (255, 255, 255), (150, 155, 165)
_RIGHT, _WRONG = (24, 104, 72), (176, 48, 32)  # full shade of the diagonal, and of mistakes
#: Mistakes are rare in a good matrix: the shade grows with the square root, or they would all look white.
_DARK = 0.6

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_confusion(confusion: NDArray[np.int64], names: Sequence[str], *, title: str) -> bytes:
    """PNG of a (K, K) matrix: rows are the truth, columns the answer; numbers are images."""
    font = ImageFont.load_default(_FONT)
    label_px = int(max(font.getlength(name) for name in names)) + _PAD
    head_px = label_px + 3 * _FONT + _PAD
    side = _CELL * len(names)
    size = (label_px + side + 2 * _PAD + 2 * _FONT, head_px + side + _PAD)
    picture = Image.new("RGB", (max(size[0], int(font.getlength(title)) + 2 * _PAD), size[1]), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_PAD, _PAD), title, _INK, font)
    corner = (2 * _FONT + _PAD + label_px, head_px)
    draw.text((corner[0], head_px - label_px - _FONT), "answer", _QUIET, font)
    picture.paste(_upright("truth", font, _QUIET), (_PAD // 2, corner[1]))
    for index, name in enumerate(names):
        middle = corner[1] + index * _CELL + _CELL // 2
        draw.text((corner[0] - _PAD // 2, middle), name, _INK, font, anchor="rm")
        standing = _upright(name, font, _INK)
        left = corner[0] + index * _CELL + (_CELL - standing.width) // 2
        picture.paste(standing, (left, corner[1] - _PAD // 2 - standing.height))
    _draw_cells(draw, confusion, corner, font)
    body = io.BytesIO()
    picture.save(body, "PNG", optimize=True)
    return body.getvalue()


def _draw_cells(draw: ImageDraw.ImageDraw, confusion: NDArray[np.int64], corner: tuple[int, int], font: _Font) -> None:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, col in np.ndindex(confusion.shape):
        left, top = corner[0] + col * _CELL, corner[1] + row * _CELL
        depth = float(np.sqrt(shares[row, col]))
        full = _RIGHT if row == col else _WRONG
        shade = tuple(round(255 + (value - 255) * depth) for value in full)
        draw.rectangle((left, top, left + _CELL, top + _CELL), fill=shade, outline=(225, 228, 232))
        if confusion[row, col]:
            ink = _PAPER if depth > _DARK else _INK
            draw.text((left + _CELL // 2, top + _CELL // 2), str(confusion[row, col]), ink, font, anchor="mm")


def _upright(text: str, font: _Font, ink: tuple[int, int, int]) -> Image.Image:
    """Text that reads upwards."""
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, _FONT + 5), _PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, ink, font)
    return strip.rotate(90, expand=True)
