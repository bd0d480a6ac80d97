"""What lies beside a raster, or is said in it, leads GDAL to no other driver, file or address."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from services.core.errors import UnreadableSceneError
from services.core.grid import whole
from services.core.raster.gdal import gdal_settings
from services.core.raster.memory import open_image
from services.core.raster.open import open_scene
from services.core.raster.read import SceneReader
from services.core.records import Asset, MaskKind
from tests.http_server import answering
from tests.rasters import ramp, write_raster

SHAPE = (30, 40)
VRT = (
    '<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    "<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)
DRIVERS = {"GTiff": "a.tif", "JP2OpenJPEG": "a.jp2"}


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """An address, and what it was asked for."""
    asked: list[str] = []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815  # as http.server calls it

        def log_message(self, *_: object) -> None:
            pass

    with answering(Listening) as address:
        yield f"{address}/{threading.get_ident()}.tif", asked


def opened(path: Path) -> Asset:
    """The only asset, after its pixels and mask were read."""
    scene = open_scene([str(path)])
    SceneReader(scene, scene.bands).read(whole(scene.shape))
    return scene.assets[0]


def write_mask(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
    tags = {"INTERNAL_MASK_FLAGS_1": "2"}
    return write_raster(path.with_name("mask.tif"), np.full(shape, 255, "uint8"), tags=tags).rename(path)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("end", [".msk", ".MSK", ".msk.msk"])
def test_a_mask_that_is_no_tiff_is_refused_in_either_spelling(tmp_path: Path, end: str, driver: str) -> None:
    path = write_raster(tmp_path / DRIVERS[driver], ramp(SHAPE), driver=driver)
    if end == ".msk.msk":
        write_mask(path.with_name(path.name + ".msk"))
    other = write_raster(tmp_path / "other.tif", ramp(SHAPE, "uint8"))
    path.with_name(path.name + end).write_text(VRT.format(other))
    with pytest.raises(UnreadableSceneError, match=rf"{end} is a VRT"):
        open_scene([str(path)])


@pytest.mark.parametrize("end", [".msk", ".MSK"])
def test_a_mask_in_either_spelling_is_checked_and_belongs_to_the_scene(tmp_path: Path, end: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE))
    mask = write_mask(tmp_path / f"a.tif{end}")
    asset = opened(path)
    assert (asset.mask, asset.sidecars, len(asset.sidecar_sha256)) == (MaskKind.MASK, (str(mask),), 1)
    write_mask(mask, (15, 20))
    with pytest.raises(UnreadableSceneError, match=rf"a\.tif{end} has 15 by 20 pixels"):
        open_scene([str(path)])


def test_a_mask_that_comes_after_ingest_is_no_way_round(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE))
    scene = open_scene([str(path)])
    (tmp_path / "a.tif.MSK").write_text(VRT.format(path))
    with pytest.raises(UnreadableSceneError, match=r"\.MSK is a VRT"):
        SceneReader(scene, scene.bands).read(whole(SHAPE))


@pytest.mark.parametrize("end", [".aux", ".AUX"])
@pytest.mark.parametrize("name", ["a", "a.tif", "a.tif.msk"])
def test_what_erdas_left_beside_a_scene_is_refused(tmp_path: Path, name: str, end: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE))
    write_mask(tmp_path / "a.tif.msk")
    notes = tmp_path / f"{name}{end}"
    notes.write_text("ArcView's notes")  # others use the name, too, and GDAL leaves those alone
    opened(path)
    write_raster(tmp_path / "x.img", ramp(SHAPE), driver="HFA").rename(notes)
    with pytest.raises(UnreadableSceneError, match="is an ERDAS Imagine file"):
        open_scene([str(path)])


@pytest.mark.parametrize("driver", DRIVERS)
def test_notes_that_name_overviews_elsewhere_are_not_followed(
    tmp_path: Path, stranger: tuple[str, list[str]], driver: str
) -> None:
    path, (url, asked) = write_raster(tmp_path / DRIVERS[driver], ramp(SHAPE), driver=driver), stranger
    notes = path.with_name(path.name + ".aux.xml")
    notes.write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{url}</MDI></Metadata></PAMDataset>'
    )
    assert opened(path).sidecars == (str(notes),)
    assert not asked


def test_a_tiff_that_names_overviews_elsewhere_leads_nowhere(tmp_path: Path, stranger: tuple[str, list[str]]) -> None:
    path, (url, asked) = write_raster(tmp_path / "a.tif", ramp(SHAPE)), stranger
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=url)
    (tmp_path / "a.tif.ovr").write_text(VRT.format(url))
    assert opened(path).sidecars == ()
    with open_image(path.read_bytes()) as image, image.reader(image.scene.bands) as reader:
        reader.read(whole(SHAPE))
    assert not asked


def test_gdal_sends_no_request_of_its_own(stranger: tuple[str, list[str]]) -> None:
    url, asked = stranger
    with gdal_settings(), pytest.raises(rasterio.RasterioIOError):
        rasterio.open(f"/vsicurl/{url}")
    assert not asked


@pytest.mark.parametrize("end", ["tfw", "TFW", "tifw", "wld"])
def test_a_world_file_belongs_to_a_scene_that_needs_it(tmp_path: Path, end: str) -> None:
    needed = write_raster(tmp_path / "a.tif", ramp(SHAPE), transform=None)
    placed = write_raster(tmp_path / "b.tif", ramp(SHAPE))
    for path in (needed, placed):
        path.with_suffix(f".{end}").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    assert opened(needed).sidecars == (str(tmp_path / f"a.{end}"),)
    assert opened(placed).sidecars == ()


def test_a_name_that_leaves_no_room_for_sidecars_has_none(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE)).rename(tmp_path / f"{'a' * 250}.tif")
    assert opened(path).sidecars == ()
