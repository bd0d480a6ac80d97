"""A scene's files are those that were ingested, or nothing is read: sidecars and copies of remote ones too."""

import errno
import http.server
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from services.cli.show import scene_json
from services.core.downloads import cache_folder, fetcher
from services.core.errors import ObjectNotFoundError, StorageUnavailableError, UnreadableSceneError
from services.core.grid import Window
from services.core.proven_reader import ProvenReader
from services.core.raster.open import open_scene
from services.core.raster.read import OpenAsset, SceneReader
from services.core.records import Asset, MaskKind
from services.core.scenes import asset_opener, check_present
from services.core.settings import Settings
from services.core.storage import files, open_store
from tests.http_server import answering
from tests.rasters import ramp, write_raster
from tests.scenes import Look, make_pixels, write_scene


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def masked(tmp_path: Path) -> Asset:
    """A scene with `scene.tif.msk` beside it."""
    path = write_scene(tmp_path / "scene.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(make_pixels(Look())[0] > 20_000)
    (asset,) = open_scene([str(path)]).assets
    assert [Path(sidecar).name for sidecar in asset.sidecars] == ["scene.tif.msk"]
    return asset


@pytest.fixture
def open_asset(settings: Settings) -> OpenAsset:
    return asset_opener(open_store(settings.store_uri, settings), settings)


def test_a_mask_beside_a_scene_must_be_the_one_that_was_ingested(masked: Asset, open_asset: OpenAsset) -> None:
    mask = Path(masked.sidecars[0])
    assert open_asset(masked) == masked.href
    replace_by_another(mask)
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif\.msk has changed since it was ingested"):
        open_asset(masked)
    mask.unlink()
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif\.msk is gone since it was ingested"):
        open_asset(masked)


def test_a_scene_ingested_before_its_sidecars_were_hashed_is_still_read(masked: Asset, open_asset: OpenAsset) -> None:
    assert open_asset(masked.model_copy(update={"sidecar_sha256": ()})) == masked.href


def test_a_file_of_the_same_size_with_other_bytes_is_not_read(masked: Asset, open_asset: OpenAsset) -> None:
    replace_by_another(Path(masked.href))
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif has changed since it was ingested"):
        open_asset(masked)


def fail(*_: object) -> str:
    raise OSError(errno.EIO, "Input/output error")


def damage_once(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let GDAL find damage where there is none, in some reads."""
    left, read = iter(range(times)), SceneReader._read_stored

    def read_stored(self: SceneReader, window: Window) -> list[NDArray[Any]]:
        if next(left, None) is not None:
            raise UnreadableSceneError("scene.tif is damaged")
        return read(self, window)

    monkeypatch.setattr(SceneReader, "_read_stored", read_stored)


WINDOW = Window(row_off=0, col_off=0, height=8, width=8)


def test_what_fails_for_a_moment_is_read_once_more(
    tmp_path: Path, open_asset: OpenAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_scene([str(write_scene(tmp_path / "scene.tif"))])
    with ProvenReader(scene, scene.bands, open_asset=open_asset) as reader:
        expected = reader.read_stored(WINDOW)
        damage_once(monkeypatch, times=1)
        np.testing.assert_array_equal(reader.read_stored(WINDOW), expected)
        damage_once(monkeypatch, times=2)
        with pytest.raises(UnreadableSceneError):
            reader.read_stored(WINDOW)


def test_damage_is_blamed_on_a_file_only_where_its_bytes_are_those_that_were_ingested(
    tmp_path: Path, open_asset: OpenAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_scene([str(write_scene(tmp_path / "scene.tif"))])
    with ProvenReader(scene, scene.bands, open_asset=open_asset) as reader:
        reader.check_files()
        monkeypatch.setattr(files.hashlib, "file_digest", fail)
        damage_once(monkeypatch, times=1)
        with pytest.raises(StorageUnavailableError, match="Input/output error"):
            reader.read_stored(WINDOW)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A scene, and the address it is served at."""
    path = write_scene(tmp_path / "www" / "scene.tif")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(path.parent))
    with answering(handler) as address:
        yield path, f"{address}/scene.tif?X-Amz-Signature=hush-hush"


def replace_by_another(path: Path) -> None:
    """Same size, other bytes."""
    body = bytearray(path.read_bytes())
    body[-100] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("how", ["ingested anew", "cache emptied"])
def test_an_address_that_names_other_bytes_by_now_is_not_mixed_in(
    settings: Settings, open_asset: OpenAsset, served: tuple[Path, str], how: str
) -> None:
    path, url = served
    before = path.read_bytes()
    (asset,) = open_scene([url], fetch=fetcher(settings, fresh=True)).assets
    assert Path(str(open_asset(asset))).read_bytes() == path.read_bytes()

    replace_by_another(path)
    if how == "ingested anew":
        fetcher(settings, fresh=True)(url)
    else:
        shutil.rmtree(cache_folder(settings))

    with pytest.raises(ObjectNotFoundError, match="has changed since it was ingested") as caught:
        open_asset(asset)
    assert "hush" not in str(caught.value)

    path.write_bytes(before)
    assert Path(str(open_asset(asset))).read_bytes() == before


def test_a_scene_is_the_same_wherever_it_and_what_lies_beside_it_are(
    tmp_path: Path, settings: Settings, served: tuple[Path, str]
) -> None:
    path, url = served
    add_sidecars(path)
    near, far = open_scene([str(path)]), open_scene([url], fetch=fetcher(settings, fresh=True))
    assert (near.digest, near.bands, near.transform) == (far.digest, far.bands, far.transform)
    assert near.assets[0].mask is far.assets[0].mask is MaskKind.MASK
    stem, query = url.split(".tif")
    assert far.assets[0].sidecars == tuple(f"{stem}.{end}{query}" for end in ("tfw", "tif.aux.xml", "tif.msk"))
    assert "hush" not in str(scene_json(far))


def test_a_scene_whose_sidecars_went_has_none(settings: Settings, served: tuple[Path, str]) -> None:
    path, url = served
    add_sidecars(path)
    fetch = fetcher(settings, fresh=True)
    with_them = open_scene([url], fetch=fetch)
    write_scene(path)
    for sidecar in path.parent.glob("scene.t*[!f]"):
        sidecar.unlink()
    without = open_scene([url], fetch=fetch)
    assert (without.assets[0].mask, without.assets[0].sidecars) == (MaskKind.NONE, ())
    assert without.digest != with_them.digest


@pytest.mark.parametrize("how", ["on another machine", "ingested anew"])
def test_a_mask_behind_an_address_must_be_the_one_that_was_ingested(
    settings: Settings, open_asset: OpenAsset, served: tuple[Path, str], how: str
) -> None:
    path, url = served
    add_sidecars(path)
    (asset,) = open_scene([url], fetch=fetcher(settings, fresh=True)).assets
    mask = path.with_name("scene.tif.msk")
    body = mask.read_bytes()
    if how == "on another machine":
        shutil.rmtree(cache_folder(settings))
    else:
        mask.unlink()
        fetcher(settings, fresh=True)(url)
        mask.write_bytes(body)
    copy = Path(str(open_asset(asset)))
    assert copy.with_name("scene.tif.msk").read_bytes() == body

    shutil.rmtree(cache_folder(settings))
    replace_by_another(mask)
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif\.msk has changed since it was ingested"):
        open_asset(asset)


def add_sidecars(path: Path) -> None:
    """A scene anew, with a mask, notes and a world file, which alone says where it lies."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"):
        write_raster(path, ramp((30, 40)), mask=ramp((30, 40)) > 100, transform=None)
    band = "<PAMRasterBand band='1'><Scale>0.5</Scale></PAMRasterBand>"
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")


def test_what_is_gone_or_grown_is_seen_without_reading_it(tmp_path):
    path = write_scene(tmp_path / "scene.tif")
    assets = open_scene([str(path)]).assets
    remote = assets[0].model_copy(update={"href": "s3://bucket/scene.tif"})
    check_present([*assets, remote])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ObjectNotFoundError, match="has changed"):
        check_present(assets)
    path.unlink()
    with pytest.raises(ObjectNotFoundError, match="is gone"):
        check_present(assets)
