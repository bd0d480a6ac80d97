"""A scene's files are those that were ingested, or nothing is read: sidecars and copies of remote ones too."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import rasterio

from services.core.errors import ObjectNotFoundError
from services.core.raster.open import open_scene
from services.core.records import Asset
from services.core.scenes import asset_opener, cache_folder, check_unchanged, fetcher
from services.core.settings import Settings
from services.core.storage import open_store
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


def test_a_mask_beside_a_scene_must_be_the_one_that_was_ingested(masked: Asset) -> None:
    mask = Path(masked.sidecars[0])
    check_unchanged(masked)
    body = bytearray(mask.read_bytes())
    body[-1] ^= 1
    mask.write_bytes(body)
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif\.msk has changed since it was ingested"):
        check_unchanged(masked)
    mask.unlink()
    with pytest.raises(ObjectNotFoundError, match=r"scene\.tif\.msk is gone since it was ingested"):
        check_unchanged(masked)


def test_a_scene_ingested_before_its_sidecars_were_hashed_is_still_read(masked: Asset) -> None:
    check_unchanged(masked.model_copy(update={"sidecar_sha256": ()}))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A scene, and the address it is served at."""
    path = write_scene(tmp_path / "www" / "scene.tif")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(path.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield path, f"http://127.0.0.1:{server.server_port}/scene.tif?X-Amz-Signature=hush-hush"
    server.shutdown()
    thread.join()
    server.server_close()


def replace_by_another(path: Path) -> None:
    """Same size, other bytes."""
    body = bytearray(path.read_bytes())
    body[-100] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("how", ["ingested anew", "cache emptied"])
def test_an_address_that_names_other_bytes_by_now_is_not_mixed_in(
    settings: Settings, served: tuple[Path, str], how: str
) -> None:
    path, url = served
    before = path.read_bytes()
    (asset,) = open_scene([url], fetch=fetcher(settings, fresh=True)).assets
    open_asset = asset_opener(open_store(settings.store_uri, settings), settings)
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
