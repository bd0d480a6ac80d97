"""What the bytes of a request are: their first ones decide, and a Content-Type that says otherwise is refused."""

from typing import Literal

from services.api.refusals import ImageError, MediaTypeError

Kind = Literal["JPEG", "PNG", "TIFF"]

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
#: What a Content-Type may claim; None: it claims nothing.
CLAIMS: dict[str, Kind | None] = {
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "application/octet-stream": None,
    "": None,
}


def sniff(body: bytes, claim: str) -> Kind:
    """What the bytes are.

    Args:
        body: The image.
        claim: Its Content-Type without parameters, in lower case.

    Raises:
        MediaTypeError: None of three, or not what was claimed.
        ImageError: Nothing.
    """
    if claim not in CLAIMS:
        raise MediaTypeError(
            f"the Content-Type is {claim[:60]!r}; send image/jpeg, image/png or image/tiff, or a form with `file`"
        )
    if not body:
        raise ImageError("the image is empty; send its bytes as the body, or as the form's field `file`")
    for magic, kind in _MAGIC:
        if body.startswith(magic):
            if CLAIMS[claim] not in {None, kind}:
                raise MediaTypeError(f"the Content-Type says {claim}, but the bytes are a {kind}; say what it is")
            return kind
    raise MediaTypeError("the bytes are no JPEG, PNG or GeoTIFF; convert the image to one of them")
