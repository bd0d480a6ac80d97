"""The images of a request: its raw body, or the files of a form."""

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from services.api.refusals import ImageError, MediaTypeError, TooLargeError
from services.core.errors import RequestError

_LONGEST_BANDS = 2000  #: as the OpenAPI document says


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One image of a request."""

    body: bytes
    claim: str  #: its Content-Type without parameters
    bands: tuple[str, ...] = ()  #: names the caller gives to a GeoTIFF's bands


class _InMemory(MultiPartParser):
    """Starlette's, but it never writes to the disk, which may be read-only; the gate bounds the body."""

    spool_max_size = 2**40


async def read_upload(request: Request) -> Upload:
    """The image of a request: its body, or the form's field `file`.

    Raises:
        SwathError: Neither.
    """
    claim = _media_type(request.headers.get("content-type", ""))
    bands = _band_names(request)
    if claim == "multipart/form-data":
        (upload,) = await read_uploads(request, "file", most=1)
        return upload
    return Upload(body=await request.body(), claim=claim, bands=bands)


async def read_uploads(request: Request, field: str, *, most: int) -> list[Upload]:
    """The files of a form, in order.

    Raises:
        MediaTypeError: Not a form.
        ImageError: A form without such a file.
        TooLargeError: More files than one request may send.
    """
    if _media_type(request.headers.get("content-type", "")) != "multipart/form-data":
        raise MediaTypeError(f"send a multipart form whose field `{field}` holds the images")
    bands = _band_names(request)
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=most, max_fields=8).parse()
    except MultiPartException as exc:
        if "Too many" in exc.message:
            raise TooLargeError(f"a form may hold {most} images here; send fewer at once") from exc
        raise ImageError("the form cannot be read: it is cut short or not a multipart form") from exc
    try:
        files = [each for each in form.getlist(field) if isinstance(each, UploadFile)]
        uploads = [
            Upload(body=await each.read(), claim=_media_type(each.content_type or ""), bands=bands) for each in files
        ]
    finally:
        await form.close()
    await form.close()
    if not uploads:
        raise ImageError(f"the form has no file in a field named `{field}`; send it as `curl -F {field}=@image.jpg`")
    return uploads


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _band_names(request: Request) -> tuple[str, ...]:
    if not request.scope["query_string"]:
        return ()
    said = request.query_params.get("bands", "")
    if len(said) > _LONGEST_BANDS:
        raise RequestError(f"bands is longer than {_LONGEST_BANDS} characters; name the bands of one GeoTIFF")
    return tuple(name.strip() for name in said.split(",") if name.strip())[:64]
