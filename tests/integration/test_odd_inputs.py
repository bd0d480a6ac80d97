"""Every real file at hand, and every synthetic horror, is read as rasterio reads it or refused in one sentence."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from services.core.errors import (
    GeoreferenceError,
    ObjectNotFoundError,
    PermanentError,
    StorageRefusedError,
    SwathError,
    UnreadableSceneError,
)
from services.core.grid import whole
from services.core.raster.cache import block_cache
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.read import SceneReader
from services.core.raster.write_scene import write_scene_cog
from services.core.records import Scene
from tests.rasters import NORTH_UP, oracle, ramp, some_windows, write_raster

READ = {
    "scenes/S2_L1C_T19UDP_20170729_13band_160m.tif": (
        "coastal blue green red rededge071 rededge075 rededge078 nir nir08 nir09 cirrus swir16 swir22"
    ),
    "scenes/L8_016037_20170813_10band_900m.tif": "coastal blue green red nir08 swir16 swir22 cirrus lwir11 lwir12",
    "scenes/L8_016037_20170813_cloudmask_from_BQA.tif": "band1",
    "scenes/L8_BQA_greenland_2658_cog.tif": "band1",
    "scenes/L8_BQA_greenland_2658_striped.tif": "band1",
    "scenes/RGB.byte.tif": "red green blue",
    "scenes/mosaic_cog1.tif": "band1 band2 band3",
    "scenes/mosaic_cog2.tif": "band1 band2 band3",
    "jp2/T19UDP_20170729_TCI_167m.jp2": "red green blue",
    "jp2/l2a_T01xxx_R60m_SCL.jp2": "band1",
    "landcover/NC_L7_2000_6band_28m.tif": "blue green red nir swir16 swir22",
    "ortho/N44E005_UTM.tif": "band1",
    "ortho/ventoux_left_image_ortho_0.5m_utm31.tif": "band1",
    "odd/RGB.byte.tif": "red green blue",
    "odd/RGB2.byte.tif": "red green blue",  # .msk beside it
    "odd/RGBA.uint16.tif": "blue green red",  # 16 bit alpha
    "odd/alpha.tif": "red green blue",
    "odd/cog_fullearth.tif": "band1",
    "odd/cog_hirise_mars.tif": "red green blue",
    "odd/cog_mask_nodata.tif": "red green blue",
    "odd/cog_nonearth.tif": "ir-9680",
    "odd/cog_scale.tif": "band1 band2",
    "odd/cogeo.tif": "red green blue",
    "odd/eolearn_import-tiff-test1.tiff": "band1",
    "odd/pix4d_alpha_nodata.tif": "red green blue",
    "odd/red.tif": "red green blue",
    "odd/shade.tif": "band1",
    "odd/test_esri_wkt.tif": "band1",
    "odd/world.rgb.tif": "red green blue",
}
NO_CRS = (GeoreferenceError, "no coordinate reference system")
REFUSED: dict[str, tuple[type[SwathError], str]] = {
    "jp2/T19UDP_20170729_160m_B02.jp2": NO_CRS,
    "jp2/T19UDP_20170729_160m_B03.jp2": NO_CRS,
    "jp2/T19UDP_20170729_160m_B04.jp2": NO_CRS,
    "jp2/T19UDP_20170729_160m_B08.jp2": NO_CRS,
    "landcover/NC_landclass96_on_L7_grid.tif": (UnreadableSceneError, "only palette"),
    "landcover/cog_cmap_f28252.tif": (UnreadableSceneError, "only palette"),
    "ortho/ventoux_left_image_rpc.tif": (GeoreferenceError, "RPC coefficients only; orthorectify"),
    "ortho/ventoux_right_image_rpc.tif": (GeoreferenceError, "RPC coefficients only; orthorectify"),
    "odd/389225main_sw_1965_1024.jpg": (UnreadableSceneError, "is JPEG; Swath reads"),
    "odd/PHR1B_P_201709281038393_SEN_PRG_FC_178609-001_nogeo.tif": NO_CRS,
    "odd/RGB.byte.gcp.vrt": (UnreadableSceneError, "is a VRT"),
    "odd/RGB.byte.rpc.vrt": (UnreadableSceneError, "is a VRT"),
    "odd/RGB2.byte.tif.msk": NO_CRS,
    "odd/corrupt.tif": (UnreadableSceneError, "cut short or damaged"),
    "odd/float.tif": NO_CRS,
    "odd/float_nan.tif": NO_CRS,
    "odd/gfs.t06z.pgrb2.10p0.f010.grib2": (UnreadableSceneError, "is GRIB"),
    "odd/int_raster_with_nodata.tif": NO_CRS,
    "odd/left_image_shear.tif": NO_CRS,
    "odd/no_band.h5": (UnreadableSceneError, "is HDF5"),
    "odd/red.tif.ovr": NO_CRS,
}
FOLDERS = ("scenes", "jp2", "landcover", "ortho", "odd")


def assert_like_rasterio(path: Path, scene: Scene) -> None:
    with block_cache(2**26), SceneReader(scene, scene.bands) as reader:
        for window in some_windows(scene.shape):
            pixels, valid = reader.read(window)
            expected, mask = oracle(path, [band.bidx for band in scene.bands], window)
            np.testing.assert_array_equal(pixels, expected)
            np.testing.assert_array_equal(np.ones(window.shape, bool) if valid is None else valid, mask)
            assert (valid is None) == bool(mask.all())


@pytest.mark.data
def test_no_file_at_hand_is_left_out(data_dir: Path) -> None:
    found = {f"{folder}/{path.name}" for folder in FOLDERS for path in (data_dir / folder).iterdir()}
    assert found == READ.keys() | REFUSED.keys()


@pytest.mark.data
@pytest.mark.parametrize("name", READ)
def test_a_usable_file_is_read_as_rasterio_reads_it(data_dir: Path, name: str) -> None:
    scene = open_scene([str(data_dir / name)])
    assert [band.name for band in scene.bands] == READ[name].split()
    assert_like_rasterio(data_dir / name, scene)


@pytest.mark.data
@pytest.mark.parametrize("name", READ)
def test_a_usable_file_is_prepared_without_loss(data_dir: Path, tmp_path: Path, name: str) -> None:
    scene = open_scene([str(data_dir / name)])
    with SceneReader(scene, scene.bands) as reader:
        write_scene_cog(reader, scene, tmp_path / "copy.tif")
        copy = open_scene([str(tmp_path / "copy.tif")])
        pixels, valid = reader.read(whole(scene.shape))
    again, valid_again = SceneReader(copy, copy.bands).read(whole(scene.shape))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_equal(valid_again, valid)
    assert [band.name for band in copy.bands] == READ[name].split()
    assert (copy.transform, copy.acquired_at) == (scene.transform, scene.acquired_at)
    assert CRS.from_user_input(copy.crs) == CRS.from_user_input(scene.crs)  # the text of an odd one may differ


@pytest.mark.data
@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_file_is_refused_in_one_sentence(data_dir: Path, name: str) -> None:
    kind, why = REFUSED[name]
    with pytest.raises(kind, match=why) as refused:
        open_scene([str(data_dir / name)])
    message = str(refused.value)
    assert type(refused.value) is kind
    assert message.count("\n") == 0
    assert message.startswith(str(data_dir / name))
    assert refused.value.exit_code == 65


@pytest.mark.data
def test_bands_without_a_place_become_a_scene_with_the_users_help(data_dir: Path) -> None:
    options = OpenOptions(crs="EPSG:32619", bounds=(399_960, 5_290_200, 509_760, 5_400_000))
    sources = [str(data_dir / "jp2" / f"T19UDP_20170729_160m_B0{band}.jp2") for band in (2, 3, 4, 8)]
    scene = open_scene(sources, options=options)
    stack = data_dir / "scenes" / "S2_L1C_T19UDP_20170729_13band_160m.tif"
    assert [band.name for band in scene.bands] == ["blue", "green", "red", "nir"]
    np.testing.assert_array_equal(
        SceneReader(scene, scene.bands).read(whole(scene.shape))[0], oracle(stack, [2, 3, 4, 8], whole(scene.shape))[0]
    )


UTM1 = rasterio.Affine(1000, 0, 220_000, 0, -1000, 5_000_000)  # across the antimeridian
SPARSE = {"SPARSE_OK": "TRUE", "nodata": 3, "tiled": True, "blockxsize": 16, "blockysize": 16}
JPEG = {
    "compress": "jpeg",
    "photometric": "ycbcr",
    "interleave": "pixel",
    "tiled": True,
    "blockxsize": 64,
    "blockysize": 64,
}
SYNTHETIC: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "one radar band": ((90, 110), "float32", {"nodata": float("nan")}),
    "4 bits": ((90, 110), "uint8", {"nbits": 4}),
    "12 bits": ((90, 110), "uint16", {"nbits": 12}),
    "pixel is point": ((90, 110), "uint16", {"tags": {"AREA_OR_POINT": "Point"}}),
    "subsampled jpeg": ((3, 90, 110), "uint8", JPEG),
    "big endian": ((2, 90, 110), "uint16", {"ENDIANNESS": "BIG"}),
    "bigtiff": ((2, 90, 110), "uint16", {"BIGTIFF": "YES"}),
    "never written blocks": ((2, 90, 110), "uint16", SPARSE),
    "lerc": ((90, 110), "float32", {"compress": "lerc"}),
    "webp": ((3, 90, 110), "uint8", {"compress": "webp", "webp_lossless": True, "interleave": "pixel"}),
    "floating point predictor": ((90, 110), "float64", {"compress": "zstd", "predictor": 3}),
    "utm 1": ((90, 110), "uint16", {"crs": "EPSG:32601", "transform": UTM1}),
}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_an_odd_but_sound_file_is_read_as_rasterio_reads_it(tmp_path: Path, name: str) -> None:
    shape, dtype, profile = SYNTHETIC[name]
    pixels = ramp(shape, dtype) if profile.get("nbits") is None else ramp(shape, dtype) % 2
    if name == "never written blocks":
        pixels[..., :40, :] = 3
    path = write_raster(tmp_path / "a.tif", pixels, **profile)
    assert_like_rasterio(path, open_scene([str(path)]))


@pytest.mark.parametrize("compress", ["none", "deflate", "jpeg"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_tiff_cut_short_is_refused(tmp_path: Path, kept: float, compress: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((3, 300, 300), "uint8"), compress=compress)
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(UnreadableSceneError, match=r"a\.tif"):
        open_scene([str(path)])


@pytest.mark.parametrize(
    "layout", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES", "ENDIANNESS": "BIG"}]
)
@pytest.mark.parametrize("tiled", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}])
def test_a_tiff_cut_short_within_its_mask_is_refused(
    tmp_path: Path, layout: dict[str, str], tiled: dict[str, Any]
) -> None:
    mask = np.random.default_rng(1).random((300, 310)) > 0.5
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        path = write_raster(tmp_path / "a.tif", ramp((2, 300, 310)), mask=mask, **layout, **tiled)
    assert_like_rasterio(path, open_scene([str(path)]))
    data, bare = path.read_bytes(), write_raster(tmp_path / "bare.tif", ramp((2, 300, 310)), **layout, **tiled)
    for end in (len(data) - 1, (len(data) + bare.stat().st_size) // 2, bare.stat().st_size):
        path.write_bytes(data[:end])
        with pytest.raises(UnreadableSceneError, match=r"a\.tif.* (cut short|damaged)"):
            open_scene([str(path)])


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_jpeg_2000_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = write_raster(tmp_path / "a.jp2", ramp((300, 300)) * 97, driver="JP2OpenJPEG")
    assert_like_rasterio(path, open_scene([str(path)]))
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(UnreadableSceneError, match=r"a\.jp2"):
        open_scene([str(path)])


def test_a_mask_file_cut_short_or_disguised_is_refused(tmp_path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"):
        path = write_raster(
            tmp_path / "a.tif", ramp((300, 300)), mask=np.random.default_rng(1).random((300, 300)) > 0.5
        )
    mask = tmp_path / "a.tif.msk"
    os.truncate(mask, mask.stat().st_size // 2)
    with pytest.raises(UnreadableSceneError, match=r"a\.tif\.msk"):
        open_scene([str(path)])
    mask.write_text('<VRTDataset rasterXSize="300" rasterYSize="300"></VRTDataset>')
    with pytest.raises(UnreadableSceneError, match=r"a\.tif\.msk"):
        open_scene([str(path)])


def test_one_bit_per_pixel_is_a_palette_to_gdal_and_so_no_measurement(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((9, 9), "uint8") % 2, nbits=1)
    with pytest.raises(UnreadableSceneError, match="only palette"):
        open_scene([str(path)])


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((9, 9)).astype("complex64"))
    with pytest.raises(UnreadableSceneError, match="complex numbers"):
        open_scene([str(path)])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"Dear Sir or Madam,\nplease find attached", "is text"),
        (b"<VRTDataset/>", "is a VRT"),
        (b'<?xml version="1.0"?><a/>', "is XML"),
        (b"PK\x03\x04rest", "is a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "is PNG"),
        (b"II*\x00", "damaged"),
        (b"II*\x00" + b"\xff" * 400, "damaged"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00" * 99, r"damaged|cut short"),
        (b"\x93NUMPY\x01\x00\x00\x00", "no format known"),
    ],
)
def test_what_is_no_raster_is_refused_by_its_format(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(UnreadableSceneError, match=why):
        open_scene([str(path)])


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nothing.tif")
    os.mkfifo(tmp_path / "pipe.tif")
    for name, kind in (
        ("folder.tif", UnreadableSceneError),
        ("loop.tif", ObjectNotFoundError),
        ("dangling.tif", ObjectNotFoundError),
        ("missing.tif", ObjectNotFoundError),
        ("pipe.tif", UnreadableSceneError),
    ):
        with pytest.raises(kind, match=name):
            open_scene([str(tmp_path / name)])


def test_a_good_link_to_a_scene_is_followed(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((9, 9)))
    (tmp_path / "link.tif").symlink_to(path)
    assert open_scene([str(tmp_path / "link.tif")]).bands


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_the_installations_fault(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((9, 9)))
    path.chmod(0)
    with pytest.raises(StorageRefusedError, match="may not be read"):
        open_scene([str(path)])


def test_random_damage_is_refused_or_read_but_never_a_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    whole_file = write_raster(
        tmp_path / "a.tif", ramp((2, 60, 70)), tiled=True, blockxsize=16, blockysize=16, compress="deflate"
    ).read_bytes()
    refused = 0
    for _ in range(150):
        data = bytearray(whole_file)
        for at in rng.integers(0, min(len(data), 700), 3):  # the index and its neighbourhood
            data[at] = int(rng.integers(256))
        (tmp_path / "b.tif").write_bytes(data)
        try:
            scene = open_scene([str(tmp_path / "b.tif")])
            if scene.shape[0] * scene.shape[1] < 10**6:
                SceneReader(scene, scene.bands).read(whole(scene.shape))
        except PermanentError:
            refused += 1
    assert refused > 20


def test_a_scene_beyond_two_to_the_31_pixels_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 60_000, "height": 60_000, "count": 1, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(
        path, "w", **profile, transform=NORTH_UP, SPARSE_OK=True, tiled=True, blockxsize=512, blockysize=512
    ) as dataset:
        dataset.write(np.full((1, 512, 512), 7, np.uint8), window=rasterio.windows.Window(59_392, 59_392, 512, 512))
    scene = open_scene([str(path)])
    pixels, _ = SceneReader(scene, scene.bands).read(some_windows(scene.shape)[3])
    assert scene.shape == (60_000, 60_000)
    assert pixels.shape == (1, 1, 1)
