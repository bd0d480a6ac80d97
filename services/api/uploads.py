"""The images of a request: its raw body, or the files of a form."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from services.api.refusals import ImageError, MediaTypeError, TooLargeError
from services.core.errors import RequestError

_LONGEST_BANDS = 2000  #: as the OpenAPI document says
_MOST_FIELDS = 8  #: of text, which nobody reads
_CUT_SHORT = "Cut short."


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One image of a request."""

    body: bytes
    claim: str  #: its Content-Type without parameters
    bands: tuple[str, ...] = ()  #: names the caller gives to a GeoTIFF's bands


class _InMemory(MultiPartParser):
    """Starlette's, but it never writes to the disk, which may be read-only; the gate bounds the body."""

    spool_max_size = 2**40
    ended = False  #: whether the last boundary was there

    def on_end(self) -> None:
        """Said at the last boundary only; Starlette takes a form without one for a shorter form."""
        self.ended = True

    async def whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The same parts, and after the last one a complaint if the form has no end, while its files are in hand."""
        async for part in stream:
            yield part
        if not self.ended:
            raise MultiPartException(_CUT_SHORT)


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
        ImageError: A form without such a file, or cut short.
        TooLargeError: More files, or more text beside them, than one request may send.
    """
    if _media_type(request.headers.get("content-type", "")) != "multipart/form-data":
        raise MediaTypeError(f"send a multipart form whose field `{field}` holds the images")
    bands = _band_names(request)
    form = await _parse(request, most=most)
    try:
        files = [each for each in form.getlist(field) if isinstance(each, UploadFile)]
        uploads = [
            Upload(body=await each.read(), claim=_media_type(each.content_type or ""), bands=bands) for each in files
        ]
    finally:
        await form.close()
    if not uploads:
        raise ImageError(f"the form has no file in a field named `{field}`; send it as `curl -F {field}=@image.jpg`")
    return uploads


async def _parse(request: Request, *, most: int) -> FormData:
    """All of a form.

    Raises:
        TooLargeError: More files than `most`, or more text than belongs beside them.
        ImageError: Cut short, or no form.
    """
    parser = _InMemory(request.headers, request.stream(), max_files=most, max_fields=_MOST_FIELDS)
    parser.stream = parser.whole(parser.stream)
    try:
        return await parser.parse()
    except MultiPartException as exc:
        raise _said_of(exc.message, most) from exc
    except UnicodeError as exc:  # of a charset that the form names, and that is none
        raise _said_of("", most) from exc


def _said_of(message: str, most: int) -> ImageError | TooLargeError:
    """What Starlette's complaint means, or ours; there is one class for all of them."""
    if message == _CUT_SHORT:
        return ImageError("the form is cut short: its last boundary is missing; send it again")
    if message.startswith("Too many files"):
        return TooLargeError(f"a form may hold {most} images here; send fewer at once")
    if message.startswith("Too many fields"):
        return ImageError(f"a form may hold {_MOST_FIELDS} text fields beside its images; send it without them")
    if "exceeded maximum size" in message:
        return TooLargeError("a text field of the form is larger than 1 MiB; send images as files, with a filename")
    return ImageError("the form cannot be read: it is cut short or not a multipart form; send it again")


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _band_names(request: Request) -> tuple[str, ...]:
    if not request.scope["query_string"]:
        return ()
    said = request.query_params.get("bands", "")
    if len(said) > _LONGEST_BANDS:
        raise RequestError(f"bands is longer than {_LONGEST_BANDS} characters; name the bands of one GeoTIFF")
    return tuple(name.strip() for name in said.split(",") if name.strip())[:64]
