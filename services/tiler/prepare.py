"""A scene made ready for many readers: one losslessly tiled COG in the store, and an index of its tiles."""

from collections.abc import Callable

from services.core.errors import StorageUnavailableError
from services.core.grid import TileGrid
from services.core.log import get_logger
from services.core.names import prepared_key, scene_cog_key, tile_index_key
from services.core.product.tile_table import write_tile_index
from services.core.proven_reader import ProvenReader
from services.core.raster.cache import block_cache
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.write_scene import write_scene_cog
from services.core.records import Scene
from services.core.scenes import STORE_SCHEME, asset_opener, bands_in_one_file, prepared
from services.core.site import Site
from services.core.storage.files import local_errors
from services.core.storage.temporary import temporary_folder

log = get_logger(__name__)

#: GDAL's cache while a scene is rewritten; a striped file needs one row of output blocks in it.
CACHE_BYTES = 128 * 2**20


def prepare_scene(site: Site, scene: Scene, *, tile_px: int, progress: Callable[[float], None] | None = None) -> Scene:
    """Write the COG with the record that points to it, and the index of tiles; what is there already stays.

    The result has the digest of the original, because its pixels, masks and band table are equal, and so are the maps
    made from either. Units are cut along the blocks of the file that is read, so they are found again for the other
    only where both are stored alike.
    """
    ready = prepared(scene, site.store)
    if ready is scene:
        ready = _write_copy(site, scene, progress)
    _write_index(site, scene, tile_px)
    return ready


def _write_index(site: Site, scene: Scene, tile_px: int) -> None:
    key = tile_index_key(scene.digest, tile_px)
    if not site.store.exists(key):
        with temporary_folder(site.scratch, "index-") as folder:
            index = folder / "index.parquet"
            with local_errors(str(index), writing=True):
                write_tile_index(scene, TileGrid(shape=scene.shape, tile_px=tile_px), index)
            site.store.put_file(key, index)


def _write_copy(site: Site, scene: Scene, progress: Callable[[float], None] | None) -> Scene:
    with temporary_folder(site.scratch, "tiler-") as folder:
        path = folder / "scene.tif"
        with (
            block_cache(CACHE_BYTES),
            ProvenReader(scene, scene.bands, open_asset=asset_opener(site.store, site.settings)) as reader,
        ):
            before = reader.file_states()
            write_scene_cog(reader, scene, path, progress=progress)
            if reader.file_states() != before:  # what was read may be neither the old pixels nor the new
                raise StorageUnavailableError(f"{scene.title} was written to while it was copied; try again")
        made = open_scene([str(path)], options=OpenOptions(), fetch=None)
        key = scene_cog_key(scene.digest)
        site.store.put_file(key, path)
    asset = made.assets[0].model_copy(update={"href": STORE_SCHEME + key})
    ready = scene.model_copy(update={"assets": (asset,), "bands": bands_in_one_file(scene)})
    site.store.put(prepared_key(scene.digest), ready.model_dump_json().encode())  # last: it makes the copy visible
    log.info("scene prepared", scene_id=scene.id, object=key, size_bytes=asset.size_bytes)
    return ready
