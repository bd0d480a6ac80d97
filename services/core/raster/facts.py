"""What one file says of itself, read once and kept as a value; everything after this decides without I/O."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from services.core.errors import RequestError, UnreadableSceneError
from services.core.raster.gdal import gdal_settings, open_raster, translated
from services.core.raster.intact import check_blocks, check_codestream, check_mask
from services.core.raster.sidecars import masks, metadata, placings
from services.core.raster.sniff import Driver, sniff_driver
from services.core.records import MaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One band of a file that holds data: palettes, alpha and masks are not among them."""

    bidx: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    description: str | None
    color: str | None  #: `red`, `green`, `blue` where the file says so


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterFacts:
    """One file."""

    href: str  #: what sentences call it: its place, without what may open it
    path: Path  #: where it is on this machine
    driver: Driver
    shape: tuple[int, int]
    block_shape: tuple[int, int]
    crs: CRS | None
    transform: Affine
    has_gcps: bool
    has_rpcs: bool
    mask: MaskKind
    alpha: int | None  #: the band, where the mask is ALPHA
    layers: tuple[LayerFacts, ...]
    tags: dict[str, str]
    imagery: dict[str, str]  #: GDAL's IMAGERY domain
    sidecars: tuple[Path, ...]
    size_bytes: int


def read_facts(path: Path, href: str) -> RasterFacts:
    """Look at a file: format, bands, georeference, masks, and that all of it is there.

    Raises:
        ObjectNotFoundError, StorageRefusedError: It is not there, or may not be read.
        UnreadableSceneError: Not a raster that Swath reads, without data, cut short or damaged.
        RequestError: GDAL cannot be asked for a file of that name.
    """
    _check_name(path)
    path = path.absolute()  # a bare name may be an instruction to GDAL, an absolute path to a regular file is none
    driver = sniff_driver(path)
    with gdal_settings(), open_raster(path, driver) as dataset, translated(str(path)):
        for mask in masks(path):
            _check_mask_file(mask, dataset.shape)
        if driver == "GTiff":
            check_blocks(dataset, path)
            check_mask(path)
        else:
            check_codestream(path)
        return dataset_facts(dataset, path, href, driver=driver, size_bytes=path.stat().st_size)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise RequestError(f"{str(path)!a} is a name that is not UTF-8; rename the file or its folder") from exc


def dataset_facts(dataset: Any, path: Path, href: str, *, driver: Driver, size_bytes: int) -> RasterFacts:
    """What an open dataset says of itself.

    Raises:
        UnreadableSceneError: It holds no measurements.
    """
    wanted = _data_bands(dataset, path)
    alpha = next((at + 1 for at, color in enumerate(dataset.colorinterp) if color is ColorInterp.alpha), None)
    mask = _mask_kind(dataset, wanted, alpha, path)
    layers = _layers(dataset, wanted, silent=mask.explicit)
    return RasterFacts(
        href=href,
        path=path,
        driver=driver,
        shape=(dataset.height, dataset.width),
        block_shape=dataset.block_shapes[0],
        crs=dataset.crs or None,
        transform=dataset.transform,
        has_gcps=bool(dataset.gcps[0]),
        has_rpcs=dataset.rpcs is not None,
        mask=mask,
        alpha=alpha if mask is MaskKind.ALPHA else None,
        layers=layers,
        tags=dataset.tags(),
        imagery=dataset.tags(ns="IMAGERY"),
        sidecars=_sidecars(dataset, path, driver),
        size_bytes=size_bytes,
    )


def _data_bands(dataset: Any, path: Path) -> list[int]:
    """Positions of the bands that hold measurements."""
    skip = {ColorInterp.alpha, ColorInterp.palette}
    colors = dataset.colorinterp
    wanted = [at for at in range(dataset.count) if colors[at] not in skip]
    if not wanted:
        kinds = ", ".join(sorted({color.name for color in colors})) or "no bands"
        raise UnreadableSceneError(f"{path} holds no measurements, only {kinds}; name the file with the sensor's bands")
    for at in wanted:
        if dataset.dtypes[at].startswith("complex"):
            raise UnreadableSceneError(
                f"{path} holds complex numbers ({dataset.dtypes[at]}); convert them to amplitude or intensity first"
            )
    return wanted


def _layers(dataset: Any, wanted: list[int], *, silent: bool) -> tuple[LayerFacts, ...]:
    """`silent`: a mask or an alpha band stands, and speaks alone."""
    colors = dataset.colorinterp
    return tuple(
        LayerFacts(
            bidx=at + 1,
            dtype=dataset.dtypes[at],
            nodata=None if silent else dataset.nodatavals[at],
            scale=dataset.scales[at],
            offset=dataset.offsets[at],
            description=dataset.descriptions[at] or None,
            color=colors[at].name if colors[at] in {ColorInterp.red, ColorInterp.green, ColorInterp.blue} else None,
        )
        for at in wanted
    )


def _mask_kind(dataset: Any, wanted: list[int], alpha: int | None, path: Path) -> MaskKind:
    """A mask, else an alpha band, wherever it stands (GDAL sees only that of two or four bands), else nodata."""
    flags = [dataset.mask_flag_enums[at] for at in wanted]
    if any(not each for each in flags):
        raise UnreadableSceneError(
            f"{path} has a mask for each of its bands; make one of them all first, e.g. with gdal_translate -mask"
        )
    if MaskFlags.per_dataset in flags[0] and MaskFlags.alpha not in flags[0]:
        return MaskKind.MASK
    if alpha is not None:
        return MaskKind.ALPHA
    silent = all(dataset.nodatavals[at] is None for at in wanted)
    return MaskKind.NONE if silent else MaskKind.NODATA


def _sidecars(dataset: Any, path: Path, driver: Driver) -> tuple[Path, ...]:
    """Files beside this one that change what is read; `dataset.files` knows them, too, but see sidecars.py."""
    beside = masks(path) + metadata(path)
    placing = placings(path)
    if placing:
        with gdal_settings(GDAL_GEOREF_SOURCES="PAM,INTERNAL"), open_raster(path, driver) as alone:
            beside += placing if alone.transform != dataset.transform else ()
    return tuple(sorted(one for one in beside if one.is_file()))


def _check_mask_file(mask: Path, shape: tuple[int, int]) -> None:
    with gdal_settings(), open_raster(mask, "GTiff") as dataset, translated(str(mask)):
        check_blocks(dataset, mask)
        if dataset.shape != shape:
            here, image = (" by ".join(map(str, each)) for each in (dataset.shape, shape))
            raise UnreadableSceneError(
                f"{mask} has {here} pixels, and the file it masks {image}; make it again or remove it"
            )
