"""A GeoTIFF that came as bytes, as a scene: nothing of it touches the disk, and nothing beside it exists.

Only GDAL's GTiff driver may look at the bytes, under a name of ours in a folder of memory of its own: no VRT, no
sidecar, no address inside the file can lead anywhere else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rasterio.io import MemoryFile

from services.core.errors import GeoreferenceError, RequestError, UnreadableSceneError
from services.core.raster.bands import Part, build_bands, hear
from services.core.raster.facts import RasterFacts, dataset_facts
from services.core.raster.footprint import ground_aspect, ground_gsd_m
from services.core.raster.gdal import gdal_settings, open_raster, translated
from services.core.raster.georef import Place, crs_text, resolve_place
from services.core.raster.intact import check_blocks
from services.core.raster.read import SceneReader
from services.core.raster.sources import user_hint
from services.core.records import Asset, Band, MaskKind, Scene

_NAME = "image.tif"


class MemoryScene:
    """An image and its bytes, while they are at hand."""

    def __init__(self, scene: Scene, name: str, *, placed: bool) -> None:
        self.scene = scene
        self.placed = placed  #: whether it says where on the ground it lies, so that its GSD means something
        self._name = name

    @contextmanager
    def reader(self, bands: Sequence[Band]) -> Iterator[SceneReader]:
        """Reads windows of these bands; belongs to the calling thread."""
        with SceneReader(self.scene, bands, open_asset=lambda _: self._name) as reader:
            yield reader


@contextmanager
def open_image(body: bytes, *, names: Sequence[str] = ()) -> Iterator[MemoryScene]:
    """Look at the bytes of a GeoTIFF as `open_scene` looks at a file; a georeference is welcome but not demanded.

    Args:
        body: The file. `tiff_head.py` knows what it would cost to open; whoever trusts nobody asks there first.
        names: Of its bands, in order, where the file does not say.

    Raises:
        UnreadableSceneError: Not a GeoTIFF, cut short or damaged.
        RequestError: Another number of names than bands.
    """
    with ExitStack() as stack:
        stack.enter_context(gdal_settings())
        with translated("the image", "it cannot be opened as a GeoTIFF"):
            memory = stack.enter_context(MemoryFile(body, filename=_NAME))
        with _renamed(memory.name), open_raster(memory.name, "GTiff") as dataset, translated("the image"):
            check_blocks(dataset, Path("the image"), size_bytes=len(body))
            facts = dataset_facts(dataset, Path(memory.name), "the image", driver="GTiff", size_bytes=len(body))
        yield _described(facts, body, names, memory.name)


@contextmanager
def _renamed(name: str) -> Iterator[None]:
    """Sentences speak of "the image": where in memory it stood is nobody's business."""
    try:
        yield
    except UnreadableSceneError as exc:
        raise UnreadableSceneError(str(exc).replace(name, "the image")) from exc


def _described(facts: RasterFacts, body: bytes, names: Sequence[str], name: str) -> MemoryScene:
    if names and len(names) != len(facts.layers):
        raise RequestError(f"the image has {len(facts.layers)} bands, but {len(names)} are named")
    hints = tuple(user_hint(each) for each in names)
    parts = (Part(facts=facts, hints=hints),)
    bands = build_bands(parts, hear(parts))
    place = _place(facts)
    mask = facts.mask
    if mask is MaskKind.NONE and any(band.nodata is not None for band in bands):
        mask = MaskKind.NODATA
    a, b, c, d, e, f = tuple(facts.transform)[:6]
    digest = hashlib.sha256(body).hexdigest()
    asset = Asset(
        href="the image",
        sha256=digest,
        size_bytes=len(body),
        driver="GTiff",
        shape=facts.shape,
        block_shape=facts.block_shape,
        transform=(a, b, c, d, e, f),
        mask=mask,
        alpha=facts.alpha,
    )
    scene = Scene(
        id=f"image-{digest[:10]}",
        title="the image",
        source="the image",
        digest=digest,
        assets=(asset,),
        bands=bands,
        shape=facts.shape,
        crs="" if place is None else crs_text(place.crs),
        transform=(a, b, c, d, e, f),
        gsd_m=1.0 if place is None else ground_gsd_m(place),
        pixel_aspect=1.0 if place is None else ground_aspect(place),
    )
    return MemoryScene(scene, name, placed=place is not None)


def _place(facts: RasterFacts) -> Place | None:
    if facts.crs is None or facts.transform.is_identity:
        return None
    try:
        return resolve_place(facts, crs=None, bounds=None)
    except GeoreferenceError:  # a place nobody needs here
        return None
