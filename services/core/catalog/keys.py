"""Keys of the online service: made once, shown once, and kept only as a hash.

A key reads `swath_<id>_<secret>`. The id finds the row; the secret is 32 random bytes, so one sha256 protects it: there
is no dictionary of such secrets to try, which is what slow password hashes are for.
"""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from services.core.catalog.catalog import Catalog
from services.core.catalog.database import insert_into
from services.core.catalog.entries import ApiKey
from services.core.catalog.rows import clean, find_row, page_rows
from services.core.catalog.tables import api_keys
from services.core.errors import RequestError

_KEY = re.compile(r"swath_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")


class Keys:
    """The catalog's table of keys. Every method is one transaction, as in `Catalog`."""

    def __init__(self, catalog: Catalog) -> None:
        """Uses the catalog's connections."""
        self._database = catalog.database

    def create(self, name: str, *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """Make a key; its text is returned here and can never be had again.

        Raises:
            RequestError: The name is empty, too long, or holds control characters.
        """
        if not _NAME.fullmatch(name) or not name.strip():
            raise RequestError("a key's name is 1 to 80 printable characters, such as the program that will use it")
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=secrets.token_hex(6),
            name=clean(name),
            hash=hash_secret(secret),
            created_at=datetime.now(UTC),
            expires_at=expires_at,
        )
        self._database.write(
            lambda conn: conn.execute(
                insert_into(conn, api_keys).values(key.model_dump()).on_conflict_do_nothing(index_elements=["id"])
            )
        )
        return key, f"swath_{key.id}_{secret}"

    def find(self, key_id: str) -> ApiKey | None:
        """The key with exactly this id; None: there is none."""
        row = self._database.read(
            lambda conn: conn.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
        )
        return None if row is None else ApiKey.model_validate(dict(row))

    def page(self, *, limit: int = 50, after: str | None = None) -> list[ApiKey]:
        """A page of keys, newest first; `after` is the id of the last key of the page before.

        Raises:
            ObjectNotFoundError: No key `after`.
        """
        rows = self._database.read(lambda conn: page_rows(conn, api_keys, limit=limit, after=after))
        return [ApiKey.model_validate(row) for row in rows]

    def revoke(self, key_id: str) -> ApiKey:
        """End a key, by its id or the only beginning of one; again, the first time counts.

        Raises:
            ObjectNotFoundError: There is none.
            RequestError: Several begin so.
        """

        def work(conn: Connection) -> ApiKey:
            found = ApiKey.model_validate(find_row(conn, api_keys, key_id, noun="key"))
            if found.revoked_at is not None:
                return found
            now = datetime.now(UTC)
            conn.execute(update(api_keys).where(api_keys.c.id == found.id).values(revoked_at=now))
            return found.model_copy(update={"revoked_at": now})

        return self._database.write(work)

    def note_use(self, key_id: str, moment: datetime) -> None:
        """Remember when a key was last used; callers do so now and then, not on every request."""
        self._database.write(
            lambda conn: conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=moment))
        )


def hash_secret(secret: str) -> str:
    """What the catalog keeps of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split_key(text: str) -> tuple[str, str] | None:
    """(id, secret) of a key's text; None: it has not the form of a key, which needs no database to see."""
    match = _KEY.fullmatch(text)
    return None if match is None else (match[1], match[2])


def opens(key: ApiKey, secret: str) -> bool:
    """Whether the secret is this key's, in a time that does not tell how much of it was right."""
    return hmac.compare_digest(key.hash, hash_secret(secret))
