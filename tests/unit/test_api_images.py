"""What an image must be before a network sees it, and what is done with one that is larger than a chip."""

import struct
import zlib

import numpy as np
import pytest
import rasterio
from PIL import Image

from services.api.chips import cut_chips
from services.api.images import decode_tiff
from services.api.refusals import ImageError, MediaTypeError, TooLargeError
from services.api.sniff import sniff
from services.core.errors import BandMismatchError, ContractError, UnreadableSceneError
from services.core.model.preprocess import Normalisation
from services.core.raster.memory import open_image
from services.core.raster.open import open_scene
from tests.served import CHIP_PX, encode, make_pixels

MOST = 10**6
PLAIN = Normalisation((1.0,) * 3, (0.0,) * 3)


def write_tiff(pixels: np.ndarray, **profile: object) -> bytes:
    """(C, H, W) as a GeoTIFF in memory."""
    count, height, width = pixels.shape
    placed = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 49e5)}
    options = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype, **placed}
    names, scales, tags = (profile.pop(key, None) for key in ("descriptions", "scales", "tags"))
    with rasterio.MemoryFile() as memory:
        with memory.open(**{**options, **profile}) as target:
            if pixels.size:
                target.write(pixels)
            if names:
                target.descriptions = names
            if scales:
                target.scales = scales
            target.update_tags(**(tags or {}))
        return memory.read()


def png_head(width: int, height: int, *, depth: int = 8) -> bytes:
    """A PNG that promises so many pixels and holds none."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def test_png_pixels_arrive_as_they_were_stored(rules):
    pixels = make_pixels()
    picture = rules.decode(encode(pixels, "PNG"), "PNG", max_pixels=MOST)
    np.testing.assert_array_equal(picture.pixels, pixels.transpose(2, 0, 1).astype(np.float32))
    assert picture.valid is None


def test_exif_rotation_is_not_applied(rules):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter"
    plain, turned = (encode(make_pixels(), exif=one) for one in (Image.Exif(), exif))
    first, second = (rules.decode(body, "JPEG", max_pixels=MOST).pixels for body in (plain, turned))
    np.testing.assert_array_equal(first, second)


def test_a_palette_png_equals_the_plain_one(rules):
    image = Image.fromarray(make_pixels()).quantize(64)
    plain = rules.decode(encode(image.convert("RGB"), "PNG"), "PNG", max_pixels=MOST)
    palette = rules.decode(encode(image, "PNG"), "PNG", max_pixels=MOST)
    np.testing.assert_array_equal(palette.pixels, plain.pixels)


def test_transparent_pixels_are_not_usable(rules):
    alpha = np.full((CHIP_PX, CHIP_PX, 1), 255, np.uint8)
    alpha[:10] = 0
    picture = rules.decode(encode(np.dstack([make_pixels(), alpha]), "PNG"), "PNG", max_pixels=MOST)
    assert picture.valid is not None
    assert not picture.valid[:10].any()
    assert picture.valid[10:].all()


@pytest.mark.parametrize("mode", ["L", "LA", "1", "CMYK", "I;16"])
def test_what_is_not_red_green_and_blue_is_refused(rules, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    with pytest.raises(ImageError, match=r"red, green and blue|16 bits"):
        rules.decode(encode(Image.new(mode, (CHIP_PX, CHIP_PX)), kind), kind, max_pixels=MOST)


def test_sixteen_bits_are_refused_and_not_halved(rules):
    with pytest.raises(ImageError, match="16 bits"):
        rules.decode(png_head(64, 64, depth=16), "PNG", max_pixels=MOST)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_cut_short_anywhere_is_refused(rules, kind):
    body = encode(make_pixels(), kind)
    for length in range(8, len(body) - 12, 97):
        with pytest.raises(ImageError, match="damaged"):
            rules.decode(body[:length], kind, max_pixels=MOST)


def test_fifty_thousand_pixels_square_are_refused_by_the_head(rules):
    with pytest.raises(TooLargeError, match="50000 by 50000"):
        rules.decode(png_head(50_000, 50_000), "PNG", max_pixels=MOST)


def test_an_image_smaller_than_a_chip_is_refused(rules):
    with pytest.raises(ImageError, match="1 by 1"):
        rules.decode(encode(make_pixels(side=1), "PNG"), "PNG", max_pixels=MOST)


def test_large_pictures_are_left_to_a_thread(rules):
    assert rules.decode_small(encode(make_pixels(side=600), "PNG"), "PNG", max_pixels=MOST) is None


@pytest.mark.parametrize(
    ("body", "claim", "error"),
    [
        (encode(make_pixels()), "image/png", MediaTypeError),
        (encode(make_pixels()), "text/html", MediaTypeError),
        (b"GIF89a", "image/jpeg", MediaTypeError),
        (b"", "image/jpeg", ImageError),
        (b"<VRTDataset>", "", MediaTypeError),
    ],
)
def test_bytes_that_are_not_what_they_should_be_are_refused(body, claim, error):
    with pytest.raises(error):
        sniff(body, claim)


def test_a_type_that_claims_nothing_leaves_it_to_the_bytes():
    assert sniff(encode(make_pixels(), "PNG"), "application/octet-stream") == "PNG"


def test_geotiff_bands_are_taken_by_name(contract):
    planes = make_pixels().transpose(2, 0, 1)
    body = write_tiff(planes[::-1], descriptions=("blue", "green", "red"))
    picture = decode_tiff(body, contract, names=(), max_pixels=MOST)
    np.testing.assert_array_equal(picture.pixels, planes)


def test_geotiff_bands_without_names_can_be_named_by_the_request(contract):
    body = write_tiff(make_pixels().transpose(2, 0, 1), photometric="minisblack")
    with pytest.raises(BandMismatchError):
        decode_tiff(body, contract, names=(), max_pixels=MOST)
    assert decode_tiff(body, contract, names=("red", "green", "blue"), max_pixels=MOST).valid is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_names_of_the_sensor_are_understood_as_the_command_line_does(contract, dtype):
    planes = make_pixels().transpose(2, 0, 1).astype(dtype)
    body = write_tiff(planes[::-1], photometric="minisblack", **({"scales": (1e-4,) * 3} if dtype is np.uint16 else {}))
    picture = decode_tiff(body, contract, names=("B02", "B03", "B04"), max_pixels=MOST)
    np.testing.assert_array_equal(picture.pixels, planes)


def test_all_bands_of_sentinel_by_their_names_need_no_scale(contract):
    numbers = np.full((13, CHIP_PX, CHIP_PX), 2750, np.uint16)
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    picture = decode_tiff(write_tiff(numbers), contract, names=names, max_pixels=MOST)
    assert picture.norm.drawing is not None


@pytest.mark.parametrize(
    ("tags", "offset"),
    [
        ({"TIFFTAG_DATETIME": "2023:07:01 10:00:00"}, -0.1),
        ({"TIFFTAG_DATETIME": "2019:07:01 10:00:00"}, 0.0),
        ({"PRODUCT_URI": "S2A_MSIL1C_20190701T100000_N0500_R022_T32UPU_20230701T120000.SAFE"}, -0.1),
    ],
)
def test_date_and_product_in_the_tags_decide_the_offset_as_for_a_file_on_disk(tmp_path, tags, offset):
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    body = write_tiff(np.full((13, CHIP_PX, CHIP_PX), 2750, np.uint16), descriptions=names, tags=tags)
    (tmp_path / "stack.tif").write_bytes(body)
    on_disk = open_scene([str(tmp_path / "stack.tif")])
    with open_image(body) as image:
        assert image.scene.bands == on_disk.bands
        assert {band.offset for band in image.scene.bands} == {offset}


def test_what_is_missing_is_said_in_one_sentence_with_the_words_of_a_request(contract):
    body = write_tiff(make_pixels().transpose(2, 0, 1), photometric="minisblack")
    with pytest.raises(BandMismatchError, match=r"^[^.;]*band3; name its bands in their order, as in \?bands=[^.]*$"):
        decode_tiff(body, contract, names=(), max_pixels=MOST)


def test_sentinel_numbers_are_drawn_as_the_network_knows_them(contract):
    numbers = np.full((3, CHIP_PX, CHIP_PX), 2750, np.uint16)
    body = write_tiff(numbers, descriptions=("B04", "B03", "B02"))
    with pytest.raises(ContractError, match="scale"):
        decode_tiff(body, contract, names=(), max_pixels=MOST)
    scaled = write_tiff(numbers, descriptions=("B04", "B03", "B02"), scales=(1e-4,) * 3)
    picture = decode_tiff(scaled, contract, names=(), max_pixels=MOST)
    (chips, _weights) = next(iter(cut_chips(picture, CHIP_PX, most=1)))
    mean, std = np.array(contract.mean), np.array(contract.std)
    np.testing.assert_allclose(chips[0, :, 0, 0], (255 - mean) / std, rtol=1e-5)


def test_a_geotiff_of_another_resolution_is_refused(contract):
    body = write_tiff(make_pixels().transpose(2, 0, 1), transform=rasterio.Affine(60, 0, 5e5, 0, -60, 49e5))
    with pytest.raises(ContractError, match="60 m"):
        decode_tiff(body, contract, names=(), max_pixels=MOST)


def test_a_tiff_without_a_place_is_taken_at_its_word(contract):
    body = encode(make_pixels(), "TIFF")
    assert decode_tiff(body, contract, names=(), max_pixels=MOST).pixels.shape == (3, CHIP_PX, CHIP_PX)


def test_a_sparse_tiff_of_fifty_thousand_pixels_is_refused(contract):
    shape = {"width": 50_000, "height": 50_000, "tiled": True, "blockxsize": 1024, "blockysize": 1024}
    body = write_tiff(np.zeros((3, 0, 0), np.uint8), **shape, sparse_ok=True)
    with pytest.raises(TooLargeError, match="50000 by 50000"):
        decode_tiff(body, contract, names=(), max_pixels=MOST)


def test_a_geotiff_cut_short_is_refused_without_a_path(contract):
    body = write_tiff(make_pixels().transpose(2, 0, 1))
    with pytest.raises(UnreadableSceneError) as caught:
        decode_tiff(body[: len(body) // 2], contract, names=(), max_pixels=MOST)
    assert "vsimem" not in str(caught.value)


def test_a_text_behind_a_tiff_head_is_refused(contract):
    with pytest.raises(UnreadableSceneError):
        decode_tiff(b"II*\x00" + b"/vsicurl/http://127.0.0.1/x.tif" * 8, contract, names=(), max_pixels=MOST)


def test_chips_cover_an_image_that_is_larger(rules):
    picture = rules.decode(encode(make_pixels(side=150), "PNG"), "PNG", max_pixels=MOST)
    cut = list(cut_chips(picture, CHIP_PX, most=4))
    assert [len(chips) for chips, _ in cut] == [4, 4, 1]


def test_chips_without_a_usable_pixel_are_left_out(rules):
    pixels = np.dstack([make_pixels(side=128), np.zeros((128, 128, 1), np.uint8)])
    pixels[:64, :32, 3] = 255
    picture = rules.decode(encode(pixels, "PNG"), "PNG", max_pixels=MOST)
    assert [(len(chips), weights) for chips, weights in cut_chips(picture, CHIP_PX, most=4)] == [(1, [0.5])]


def test_a_text_chunk_that_unfolds_to_gigabytes_is_refused(rules):
    bomb = b"zTXt" + b"Comment\x00\x00" + zlib.compress(bytes(2**26), 9)
    chunk = struct.pack(">I", len(bomb) - 4) + bomb + struct.pack(">I", zlib.crc32(bomb))
    body = encode(make_pixels(), "PNG")
    with pytest.raises(ImageError, match="damaged"):
        rules.decode(body[:33] + chunk + body[33:], "PNG", max_pixels=MOST)
