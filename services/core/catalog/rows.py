"""Rows and records: how a record becomes columns, and how rows are found and paged."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, func, select, tuple_

from services.core.errors import ObjectNotFoundError, RequestError
from services.core.records import Record


def document(record: Record) -> dict[str, Any]:
    """The record as JSON has it.

    Raises:
        RequestError: It holds text that is not text: a file name that is not UTF-8, or a NUL.
    """
    try:
        text = record.model_dump_json()
    except ValueError as exc:
        raise RequestError(f"{type(record).__name__} holds a name that is not UTF-8; rename the file") from exc
    if "\\u0000" in text.replace("\\\\", ""):
        raise RequestError(f"{type(record).__name__} holds a NUL character, which no name may")
    found: dict[str, Any] = json.loads(text)
    return found


def clean(text: str) -> str:
    """Text both databases can keep: what is not Unicode in a file name is spelled out, and NUL becomes U+FFFD."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\ufffd")


def find_row(conn: Connection, table: Table, wanted: str, *, noun: str) -> dict[str, Any]:
    """The row with this primary key, or with the only one that begins so.

    Raises:
        ObjectNotFoundError: None; the message names the newest there are.
        RequestError: Several.
    """
    key = primary_key(table)
    wanted = clean(wanted)
    exact = conn.execute(select(table).where(key == wanted)).mappings().first()
    if exact is not None:
        return dict(exact)
    begins = func.substr(key, 1, len(wanted)) == wanted  # LIKE would ignore case on SQLite
    found = conn.execute(select(table).where(begins).order_by(key).limit(4)).mappings().all() if wanted else []
    if len(found) == 1:
        return dict(found[0])
    if found:
        several = ", ".join(row[key.name] for row in found[:3]) + (", …" if len(found) > 3 else "")
        raise RequestError(f"{noun} {wanted!r} is not clear: {several}; write more of it")
    newest = [row[key.name] for row in page_rows(conn, table, limit=3)]
    hint = f"the newest are {', '.join(newest)}" if newest else "there is none yet"
    raise ObjectNotFoundError(f"no {noun} {wanted!r} in the catalog; {hint}")


def page_rows(
    conn: Connection,
    table: Table,
    *,
    limit: int,
    after: str | None = None,
    where: Sequence[ColumnElement[bool]] = (),
) -> list[dict[str, Any]]:
    """Rows newest first, by keyset: rows that come while somebody pages shift nothing.

    Raises:
        RequestError: A limit below 1.
        ObjectNotFoundError: No row `after`.
    """
    if limit < 1:
        raise RequestError(f"a page of {limit} makes no sense; ask for 1 or more")
    key = primary_key(table)
    query = select(table).where(*where).order_by(table.c.created_at.desc(), key.desc()).limit(limit)
    if after is not None:
        last = conn.execute(select(table.c.created_at).where(key == clean(after))).scalar_one_or_none()
        if last is None:
            raise ObjectNotFoundError(f"no page after {after!r}: the catalog's {table.name} have no such entry")
        query = query.where(tuple_(table.c.created_at, key) < (last, after))
    return [dict(row) for row in conn.execute(query).mappings()]


def primary_key(table: Table) -> Column[str]:
    """The one column of the table's primary key."""
    (column,) = table.primary_key.columns
    return column
