"""Pages of what the catalog knows: an opaque cursor, and the way to the next page in the header."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Query, Request, Response

from services.core.errors import ObjectNotFoundError, RequestError

T = TypeVar("T")

MAX_LIMIT = 200
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Entries on a page.")]
Cursor = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{1,300}$",
        description="`next` of the page before. Entries made meanwhile shift nothing.",
    ),
]
_PLACE = re.compile(r"[a-z]+:[A-Za-z0-9._-]{1,200}")


def write_cursor(noun: str, after: str) -> str:
    """A cursor that continues after the entry `after` of this listing."""
    return base64.urlsafe_b64encode(f"{noun}:{after}".encode()).decode().rstrip("=")


def read_cursor(noun: str, cursor: str | None) -> str | None:
    """The entry that a cursor continues after; None: from the first.

    Raises:
        RequestError: It is not a cursor of this listing.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError) as exc:
        raise _foreign(noun) from exc
    if not _PLACE.fullmatch(text) or text.partition(":")[0] != noun:
        raise _foreign(noun)
    return text.partition(":")[2]


def read_page(noun: str, cursor: str | None, limit: int, fetch: Callable[[str | None, int], list[T]]) -> list[T]:
    """One entry more than the limit, where there are so many: whoever cuts it off knows that there is a next page.

    Args:
        noun: The listing.
        cursor: Of the request.
        limit: Of the request.
        fetch: Called with the entry to continue after and the number of entries.

    Raises:
        RequestError: A cursor that is not of this listing.
    """
    after = read_cursor(noun, cursor)
    try:
        return fetch(after, limit + 1)
    except ObjectNotFoundError as exc:
        if after is None:
            raise
        raise _foreign(noun) from exc


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Say in the header where the next page is (RFC 8288); a path, because a proxy may have given us another name."""
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def _foreign(noun: str) -> RequestError:
    return RequestError(f"the cursor is not one of the {noun} listing; leave it out to begin at the first page")
