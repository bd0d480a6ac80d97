"""The short way to a JPEG's pixels gives what Pillow gives, or leaves the image to Pillow."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.api.plain_jpeg import decode_plain, plain_size


def picture(height: int = 48, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours with some noise, as images are."""
    rows, cols = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    base = np.stack([rows * 3, cols * 2, (rows + cols) * 2], axis=-1) % 256
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(body), formats=("JPEG",)))


@given(
    side=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    restart=st.sampled_from([0, 1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_the_pixels_are_pillows(
    side: tuple[int, int], quality: int, subsampling: int, progressive: bool, restart: int
) -> None:
    body = jpeg(
        picture(*side),
        quality=quality,
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_blocks=restart,
    )
    assert plain_size(body) == side[::-1]
    assert np.array_equal(decode_plain(body), by_pillow(body))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_left_to_pillow(mode: str) -> None:
    assert plain_size(jpeg(picture(), mode)) is None


def test_colours_stored_as_such_are_left_to_pillow() -> None:
    assert plain_size(jpeg(picture(), keep_rgb=True)) is None


@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.floats(0.02, 1))
@settings(max_examples=200, deadline=None)
def test_a_damaged_image_never_differs_from_pillows(place: float, value: int, cut: float) -> None:
    body = bytearray(jpeg(picture()))
    body[int(place * (len(body) - 1))] = value
    harmed = bytes(body[: max(3, int(cut * len(body)))])

    size = plain_size(harmed)
    if size is None or size[0] * size[1] > 2**20:
        return
    found = decode_plain(harmed)
    if found is not None:
        assert np.array_equal(found, by_pillow(harmed))


@pytest.mark.parametrize("body", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + bytes(40), b"no image at all"])
def test_what_is_no_jpeg_has_no_size(body: bytes) -> None:
    assert plain_size(body) is None
    assert decode_plain(body) is None
