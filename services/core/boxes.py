"""Boxes as people write them: four numbers with commas between."""

from services.core.errors import RequestError

#: (west, south, east, north), in degrees where nothing else is said.
BBox = tuple[float, float, float, float]


def parse_bbox(text: str | None) -> BBox | None:
    """West, south, east, north in degrees; west > east where the box crosses the antimeridian.

    Raises:
        RequestError: Four numbers of something else, or a box without ground.
    """
    if text is None:
        return None
    west, south, east, north = _four(text, "--bbox", "west,south,east,north")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
        raise RequestError(f"--bbox {text} holds no ground; give west,south,east,north in degrees")
    return west, south, east, north


def parse_bounds(text: str | None) -> BBox | None:
    """Left, bottom, right, top in the units of a CRS.

    Raises:
        RequestError: Not four numbers.
    """
    return None if text is None else _four(text, "--bounds", "left,bottom,right,top")


def _four(text: str, option: str, order: str) -> BBox:
    try:
        first, second, third, fourth = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise RequestError(f"{option} {text} is not {order}") from exc
    return first, second, third, fourth
