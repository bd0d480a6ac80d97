"""Blocks in, a product out: map, tile table, STAC item and manifest, all of them in place or none.

The blocks are read once and not kept, so memory does not grow with the scene.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from services.core.errors import ConfigError, ConflictError, CoverageError, ObjectNotFoundError, RunClaimedError
from services.core.extras import install_command
from services.core.model.statistics import Tally
from services.core.names import parse_run_id, product_key
from services.core.product.coverage import Coverage, CoverageCount
from services.core.product.manifest import (
    FileFacts,
    Manifest,
    build_manifest,
    canonical_json,
    parse_manifest,
    read_facts,
)
from services.core.product.outlet import Outlet, open_outlet
from services.core.product.spec import FILES, ITEM, MANIFEST, MAP, STATISTICS, TILES, ProductSpec
from services.core.records import Product
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.storage.files import local_errors
from services.core.storage.temporary import temporary_folder
from services.core.unit import UnitBlock

#: GDAL's own default is a twentieth of the machine. Windows of a map cover whole blocks, or nearly, so none waits long.
_CACHE_BYTES = 16 * 2**20


def check_out(out: str, settings: Settings) -> None:
    """Prove that products can be written to `out`, before hours are spent on one. Makes the folder.

    Raises:
        ConfigError: What writes tile tables is not installed, as in the image of the online service.
        RequestError: Not a folder path, `file://` or `s3://` URI.
        StorageRefusedError: Nothing can be written there.
        StorageUnavailableError: It is full, or does not answer.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError(
            f"pyarrow is not installed, which products are written with; run: {install_command('pyarrow')}"
        )
    open_outlet(out, settings).prove()


def publish(
    spec: ProductSpec,
    blocks: Iterable[UnitBlock],
    *,
    out: str,
    settings: Settings,
    scratch: Path,
    still_ours: Callable[[], bool] = lambda: True,
) -> Product:
    """Write the five files in `scratch` and move them to `<out>/<run id>/`, all or nothing.

    Publishing a run again is harmless: the product that stands is kept if map and table have the same bytes and all
    its files are intact, and made good if some are not.

    Args:
        spec: The run.
        blocks: Its units in row order, every tile row once. Consumed once.
        out: Folder path, `file://` URI, or `s3://bucket/prefix`, where `manifest.json` comes last as the commit mark.
        settings: Of the store.
        scratch: Local folder with room for the map twice.
        still_ours: Asked right before the files are moved: whether nobody else has taken over meanwhile.

    Raises:
        CoverageError: A tile is missing, comes twice, or not one could be computed.
        ConflictError: `<out>/<run id>` holds something else, or another process is publishing it.
        StorageRefusedError: `out` or `scratch` is read-only.
        StorageUnavailableError: A disk is full, or the store does not answer.
    """
    outlet, run_id = open_outlet(out, settings), parse_run_id(spec.run.id)
    href = f"{outlet.store.uri}/{run_id}"
    with temporary_folder(scratch, "product-") as folder:
        coverage = _write_answers(spec, blocks, folder)
        files = {name: read_facts(folder / name) for name in (MAP, TILES)}
        earlier = _published(outlet, run_id, files)
        if earlier is not None and not verify_files(standing := earlier.product(href), settings):
            outlet.tidy(run_id)
            return standing
        files[STATISTICS] = read_facts(folder / STATISTICS)
        manifest = _write_documents(spec, coverage, files, folder)
        if not still_ours():
            raise RunClaimedError(f"another process has taken over to publish run {run_id}; see `swath runs {run_id}`")
        outlet.commit(run_id, folder, replace=_stands(outlet, run_id))
    return manifest.product(href)


def read_product_file(product: Product, name: str, settings: Settings) -> bytes:
    """A small file of a product, as it was published.

    Raises:
        ObjectNotFoundError: The product has no such file, or it is gone.
        CoverageError: It was changed since.
        StorageRefusedError, StorageUnavailableError: It cannot be read now.
    """
    store = open_outlet(product.href.removesuffix(f"/{product.run_id}"), settings).store
    data = store.get(product_key(product.run_id, name))
    if hashlib.sha256(data).hexdigest() != product.files.get(name):
        raise CoverageError(
            f"{product.href}/{name} is not what was published; see what else is not with: swath verify {product.run_id}"
        )
    return data


def verify_files(product: Product, settings: Settings) -> tuple[str, ...]:
    """Recompute the digest of every published file: the names of those that are missing or changed, none if all good.

    Raises:
        StorageRefusedError, StorageUnavailableError: They cannot be read now.
    """
    store = open_outlet(product.href.removesuffix(f"/{product.run_id}"), settings).store
    digests = {**product.files, MANIFEST: product.manifest_sha256}
    return _damaged(store, product.run_id, digests)


def _write_answers(spec: ProductSpec, blocks: Iterable[UnitBlock], folder: Path) -> Coverage:
    """Map, tile table and statistics, in one pass over the blocks."""
    # pyarrow, shapely and GDAL take 0.3 s to import; `swath --help` and check_out do without.
    from services.core.product.class_map import map_parts, plan_map, tile_classes
    from services.core.product.tile_table import TileTable
    from services.core.raster.cache import block_cache
    from services.core.raster.write import MapWriter

    count, counts = CoverageCount(spec), Tally(spec.contract).counts
    with block_cache(_CACHE_BYTES), MapWriter(plan_map(spec), folder) as writer:
        with TileTable(spec, folder / TILES) as table:
            for block in count.watch(blocks):
                counts = counts + block.tally if block.tally.size else counts
                classes = tile_classes(spec, block)
                table.add(block, classes)
                for window, pixels in map_parts(spec, block, classes):
                    writer.write(window, pixels)
            coverage = count.finish()
        writer.finish(folder / MAP)
    with local_errors(str(folder), writing=True):
        (folder / STATISTICS).write_bytes(Tally(spec.contract, counts).statistics().encode())
    return coverage


def _write_documents(spec: ProductSpec, coverage: Coverage, files: dict[str, FileFacts], folder: Path) -> Manifest:
    from services.core.product.item import build_item

    with local_errors(str(folder), writing=True):
        (folder / ITEM).write_bytes(canonical_json(build_item(spec, coverage, files)))
        manifest = build_manifest(spec, coverage, {**files, ITEM: read_facts(folder / ITEM)})
        (folder / MANIFEST).write_bytes(manifest.encode())
    return manifest


def _published(outlet: Outlet, run_id: str, files: dict[str, FileFacts]) -> Manifest | None:
    """The run's manifest if it stands and promises these files; None if there is none, or a torn one."""
    try:
        manifest = _read_manifest(outlet.store, run_id)
    except (ObjectNotFoundError, CoverageError):
        return None
    if any(manifest.files.get(name) != facts for name, facts in files.items()):
        raise ConflictError(
            f"{outlet.store.uri}/{run_id} already holds another product of this run; move it away, or verify it with: "
            f"swath verify {run_id}"
        )
    return manifest


def _stands(outlet: Outlet, run_id: str) -> bool:
    """Whether a product is there, in whatever condition."""
    return any(outlet.store.exists(product_key(run_id, name)) for name in FILES)


def _read_manifest(store: ObjectStore, run_id: str) -> Manifest:
    key = product_key(run_id, MANIFEST)
    return parse_manifest(store.get(key), f"{store.uri}/{key}")


def _damaged(store: ObjectStore, run_id: str, digests: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the files that do not have these digests."""
    damaged = []
    for name, expected in sorted(digests.items()):
        try:
            with store.open(product_key(run_id, name)) as reader:
                digest = hashlib.file_digest(reader, "sha256").hexdigest()
        except ObjectNotFoundError:
            digest = None
        if digest != expected:
            damaged.append(name)
    return tuple(damaged)
