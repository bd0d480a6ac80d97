"""Addresses as others write them: where one in a STAC item leads, and how any is named without what may open it."""

import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from services.core.errors import RequestError
from services.core.names import public_href

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=:)", re.IGNORECASE)
_REMOTE = ("s3://", "http://", "https://")
_SHOWN_CHARS = 200


def shown_href(href: str) -> str:
    """`public_href` of any text on one line: errors and refusals also name what is no address, or no text."""
    if "://" in href and _SCHEME.match(href):
        href = public_href(href)
    return href if href.isprintable() else ascii(href)


def resolve_href(href: str, base: str) -> str:
    """An absolute path or URI for an asset of the item at `base`.

    Raises:
        RequestError: It leads out of a local item's folder, is no address, or names a scheme that is not read.
    """
    named = f"{shown_href(href)[:_SHOWN_CHARS]} in {shown_href(base)}"
    try:
        if "://" in base or ("://" in href and _scheme(href) not in ("", "file")):
            return _resolve_uri(href, base)
        folder = Path(base).parent.resolve()
        path = _resolve_path(href, folder)
    except (ValueError, OSError, RuntimeError) as exc:  # no URI; a name too long; a link that leads back to itself
        raise RequestError(f"{named} is not an address Swath follows; name the file yourself") from exc
    if not path.is_relative_to(folder):
        raise RequestError(f"{named} leads out of the item's own folder; name the file yourself with --band NAME=FILE")
    return str(path)


def _resolve_uri(href: str, base: str) -> str:
    """ValueError where it would be anything but one of the addresses that are fetched."""
    scheme = _scheme(href)
    if scheme:
        uri = scheme + href[len(scheme) :]
    elif base.startswith("s3://"):
        uri = "s3" + urljoin("http" + base[2:], href)[4:]  # urljoin knows no s3
    else:
        uri = urljoin(base, href)
    if not uri.startswith(_REMOTE):
        raise ValueError(uri)
    urlsplit(uri)  # an IPv6 address left open
    return uri


def _resolve_path(href: str, folder: Path) -> Path:
    """Percent signs may belong to a file's name, or stand for other characters as in any address."""
    if _scheme(href) == "file":
        return (folder / unquote(urlsplit(href).path)).resolve()
    written = folder / href
    return (written if written.exists() else folder / unquote(href)).resolve()


def _scheme(href: str) -> str:
    found = _SCHEME.match(href)
    return found[0].lower() if found else ""
