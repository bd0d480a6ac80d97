"""A small raster seen as a large one whose pixels repeat it: GDAL's virtual format, between two files of our own.

A map of tiles is a few thousand numbers that fill a hundred million pixels. Written out, the pixels cost more than all
that went before; so a COG is made from this view of them, which also answers for the overviews, in one pass.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

import rasterio.shutil

from services.core.raster.cog import BLOCK_PX
from services.core.raster.gdal import gdal_settings


def magnify(source: Path, shape: tuple[int, int], times: int) -> Path:
    """Write a view of `source` beside it, for `make_cog`.

    Args:
        source: A GeoTIFF of one or more bands, with the tags and the transform of the large raster.
        shape: (height, width) of the large raster; what reaches beyond is cut off.
        times: Its pixels per pixel of `source`, along one side.

    Returns:
        The path of the view; `source` must stay where it is.
    """
    view = source.with_suffix(".vrt")
    with gdal_settings():
        rasterio.shutil.copy(str(source), str(view), driver="VRT")  # GDAL carries over tags, colours, CRS and transform
    document = ET.parse(view)  # noqa: S314  # written by GDAL a moment ago
    root = document.getroot()
    root.set("rasterXSize", str(shape[1]))
    root.set("rasterYSize", str(shape[0]))
    _add_overviews(root, shape)
    for target in root.iter("DstRect"):
        for side in ("xSize", "ySize"):
            target.set(side, str(int(target.attrib[side]) * times))
    for band in root.iter("VRTRasterBand"):
        band.set("blockXSize", str(BLOCK_PX))
        band.set("blockYSize", str(BLOCK_PX))
    document.write(view)
    return view


def _add_overviews(root: ET.Element, shape: tuple[int, int]) -> None:
    """The overviews that a COG gets, answered from the small raster."""
    factors = [2]
    while max(shape) // factors[-1] > BLOCK_PX:
        factors.append(2 * factors[-1])
    if max(shape) > BLOCK_PX:
        overviews = ET.SubElement(root, "OverviewList", resampling="nearest")
        overviews.text = " ".join(map(str, factors))
