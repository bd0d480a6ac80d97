"""`swath keys`: who may use the online service."""

import re
from datetime import UTC, datetime, timedelta

from services.cli.output import note, print_json, print_table, say
from services.core.catalog.entries import ApiKey
from services.core.catalog.keys import Keys
from services.core.errors import RequestError
from services.core.log import configure_logging
from services.core.settings import load_settings
from services.core.site import open_site

_LIFE = re.compile(r"([1-9][0-9]{0,4})([hd])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_life(text: str) -> timedelta:
    """`90d` or `12h`.

    Raises:
        RequestError: Neither.
    """
    match = _LIFE.fullmatch(text.strip())
    if match is None:
        raise RequestError(f"--expires {text!r} is not a time; write for example 90d or 12h")
    return int(match[1]) * _UNITS[match[2]]


def create_key(name: str, *, expires: str | None, as_json: bool) -> int:
    """Make a key and show it, this once."""
    life = None if expires is None else parse_life(expires)
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        key, text = Keys(site.catalog).create(name, expires_at=None if life is None else datetime.now(UTC) + life)
    if as_json:
        print_json({**_public(key), "key": text})
        return 0
    say(text)
    until = "until it is revoked" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
    note(f"key {key.id} for {key.name} is good {until}; keep it now, it is not shown again")
    return 0


def list_keys(*, limit: int, as_json: bool) -> int:
    """List keys, newest first, without what opens anything."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        keys = Keys(site.catalog).page(limit=limit)
    if as_json:
        print_json({"keys": [_public(key) for key in keys]})
    elif keys:
        now = datetime.now(UTC)
        rows = [
            [k.id, k.name, _state(k, now), *map(_minute, (k.created_at, k.expires_at, k.last_used_at))] for k in keys
        ]
        print_table(["key", "name", "state", "created", "expires", "last used"], rows, spare=("created", "last used"))
    else:
        say("no keys yet; make one with: swath keys create NAME")
    return 0


def revoke_key(key_id: str, *, as_json: bool) -> int:
    """End a key; running services notice within ten seconds."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        key = Keys(site.catalog).revoke(key_id)
    if as_json:
        print_json(_public(key))
    else:
        say(f"key {key.id} of {key.name} is revoked; running services notice within ten seconds")
    return 0


def _public(key: ApiKey) -> dict[str, object]:
    return key.model_dump(mode="json", exclude={"hash"})


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.usable_at(now) else "expired"


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
