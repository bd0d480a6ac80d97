"""Object keys and store URIs: pure, decided here once for every kind of store."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.core.errors import RequestError

#: Unfinished files of the file store; no key may look like one, so a listing never shows half an object.
PART_PREFIX = ".swath-"

_MAX_KEY_BYTES = 1024  # S3
_MAX_SEGMENT_BYTES = 255  # ext4, xfs; versitygw answers a longer one with a misleading 409
_OUTPOSTS_ARN = re.compile(
    r"arn:aws[a-z-]*:s3-outposts:[a-z0-9-]+:\d{12}:outpost[/:]op-[0-9a-z]+[/:]accesspoint[/:][a-z0-9-]+"
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")  # botocore's own rule, less names of one letter
_OUTPOSTS_ALIAS_SUFFIX = "--op-s3"


def check_key(key: str) -> str:
    """The key itself, if every kind of store can hold it.

    Raises:
        RequestError: Absolute, empty, `..`, a control character, a backslash, or too long.
    """
    reason = _fault(key)
    if reason:
        raise RequestError(f"object key {key[:80]!r} {reason}")
    return key


def is_key(key: str) -> bool:
    """Whether `check_key` lets it pass; listings leave out what others put beside our objects."""
    return _fault(key) is None


def check_prefix(prefix: str) -> str:
    """A prefix to list: empty, or the beginning of a key, cut anywhere.

    Raises:
        RequestError: No key can begin like this.
    """
    if prefix and prefix != "/":
        check_key(prefix.removesuffix("/"))
    elif prefix:
        raise RequestError("prefix '/' is absolute; keys are relative to the store")
    return prefix


def _fault(key: str) -> str | None:
    try:
        segments = [segment.encode() for segment in key.split("/")]
    except UnicodeEncodeError:
        return "is not valid text"
    faults = {
        f"is longer than {_MAX_KEY_BYTES} bytes": len(key.encode()) > _MAX_KEY_BYTES,
        "must be relative, without empty, '.' or '..' segments": not {b"", b".", b".."}.isdisjoint(segments),
        f"has a segment longer than {_MAX_SEGMENT_BYTES} bytes": max(map(len, segments)) > _MAX_SEGMENT_BYTES,
        f"has a segment that begins with {PART_PREFIX!r}, which is kept for unfinished files": any(
            segment.startswith(PART_PREFIX.encode()) for segment in segments
        ),
        "has a backslash or a control character": "\\" in key or any(unicodedata.category(c) == "Cc" for c in key),
    }
    return next((fault for fault, found in faults.items() if found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A bucket, or the ARN of an S3 on Outposts access point, and a key or prefix in it (may be empty)."""

    bucket: str
    path: str

    @property
    def on_outposts(self) -> bool:
        """Whether boto3 must build the host itself and sign for `s3-outposts`, in the Region of the ARN."""
        return bool(_OUTPOSTS_ARN.fullmatch(self.bucket)) or self.bucket.endswith(_OUTPOSTS_ALIAS_SUFFIX)


def is_s3(uri: str) -> bool:
    """Whether the URI names S3."""
    return uri.startswith("s3://")


def parse_s3(uri: str) -> S3Location:
    """Bucket and path of `s3://bucket/path` or `s3://arn:aws:s3-outposts:…:accesspoint/name/path`, taken literally.

    Raises:
        RequestError: Neither a bucket name nor an access point; a path that cannot be a key.
    """
    rest = uri.removeprefix("s3://")
    arn = _OUTPOSTS_ARN.match(rest)
    bucket = arn[0] if arn else rest.partition("/")[0]
    path = rest[len(bucket) :]
    if (not arn and not _BUCKET.fullmatch(bucket)) or (path and not path.startswith("/")):
        # The text is not repeated: people write s3://KEY:SECRET@bucket.
        raise RequestError(
            "an s3:// URI must name a bucket or an S3 on Outposts access point ARN, and never hold credentials"
        )
    path = path.strip("/")
    return S3Location(bucket=bucket, path=check_key(path) if path else "")


def parse_path(uri: str) -> Path:
    """The absolute local path a folder path, file path or `file://` URI names.

    Raises:
        RequestError: Another scheme, another host, or no path.
    """
    if not uri or "\0" in uri:
        raise RequestError("a store must be a folder, file:// or s3:// URI, not an empty text")
    if "://" not in uri:
        return _one_leading_slash(Path(uri).absolute())
    parts = urlsplit(uri)
    if not uri.startswith("file://"):
        scheme = uri.partition("://")[0]
        small = ", in small letters" if parts.scheme in {"s3", "file"} else ""
        raise RequestError(f"{scheme}:// is not a place Swath reads; use a path, file:// or s3://{small}")
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise RequestError("a file:// URI must look like file:///folder/name, on this machine")
    return _one_leading_slash(Path(unquote(parts.path)))


def _one_leading_slash(path: Path) -> Path:
    """POSIX lets `//a` differ from `/a`; here they are one folder."""
    return Path("/" + str(path).lstrip("/"))


def split_uri(uri: str) -> tuple[str, str]:
    """(store URI, key) of one object: the bucket and its key, or the folder and the file's name.

    Raises:
        RequestError: The URI names no object.
    """
    if is_s3(uri):
        location = parse_s3(uri)
        if not location.path:
            raise RequestError(f"s3://{location.bucket} names a bucket, not an object")
        return f"s3://{location.bucket}", location.path
    path = parse_path(uri)
    return str(path.parent), check_key(path.name)
