"""Keys in the catalog, on SQLite and PostgreSQL, and a door that asks for them."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from services.api.auth import Door
from services.api.keys import BELIEVED_AWAY_S, BELIEVED_S, KeyRing
from services.api.refusals import TooManyRequestsError, UnauthenticatedError
from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.keys import Keys
from services.core.errors import DatabaseUnavailableError, ObjectNotFoundError, RequestError

pytest_plugins = ["tests.postgres"]


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Counting(Keys):
    """The real keys, counting how often the catalog is asked; `away` is a database that does not answer."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog)
        self.asked = 0
        self.away = False

    def find(self, key_id: str):
        self.asked += 1
        if self.away:
            raise DatabaseUnavailableError("the catalog does not answer")
        return super().find(key_id)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with open_catalog(catalog_url) as opened:
        yield opened


@pytest.fixture
def keys(catalog: Catalog) -> Counting:
    return Counting(catalog)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(keys: Counting, clock: Clock) -> Door:
    return Door(ring=KeyRing(keys, clock=clock))


def admit(door: Door, *keys: str, header: str = "x-api-key", address: str = "10.0.0.1") -> list[str]:
    async def ask() -> list[str]:
        return [subject.caller for subject in [await door.identify({header: key}, address) for key in keys]]

    return asyncio.run(ask())


def test_a_key_is_nowhere_in_the_catalog(catalog, keys):
    _, shown = keys.create("dashboard")
    with catalog.database.engine.connect() as conn:
        rows = conn.execute(text("SELECT * FROM api_keys")).all()
    secret = shown.split("_", 2)[2]  # which may hold "_" itself
    assert len(secret) == 43
    assert secret not in str(rows)


def test_keys_come_back_newest_first_and_in_pages(keys):
    made = [keys.create(f"key {number}")[0] for number in range(5)]
    first = keys.page(limit=3)
    assert [*first, *keys.page(limit=3, after=first[-1].id)] == made[::-1]


def test_revoking_twice_keeps_the_first_time(keys):
    key, _ = keys.create("dashboard")
    first = keys.revoke(key.id)
    assert keys.revoke(key.id[:8]) == first == keys.find(key.id)
    with pytest.raises(ObjectNotFoundError):
        keys.revoke("ffffffffffff")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "x" * 81])
def test_a_name_must_be_printable(keys, name):
    with pytest.raises(RequestError, match="printable"):
        keys.create(name)


def test_either_header_opens_the_door(keys, door):
    key, shown = keys.create("dashboard")
    assert admit(door, shown) == [f"key:{key.id}"]
    assert admit(door, f"Bearer {shown}", header="authorization") == [f"key:{key.id}"]


@pytest.mark.parametrize(
    "spoil", [lambda k: "", lambda k: k[:-1], lambda k: k[:-1] + "!", lambda k: k + "x", str.upper]
)
def test_what_is_not_the_key_opens_nothing(keys, door, spoil):
    _, shown = keys.create("dashboard")
    with pytest.raises(UnauthenticatedError):
        admit(door, spoil(shown))


def test_the_secret_of_another_key_opens_nothing(keys, door):
    (_, one), (_, other) = keys.create("one"), keys.create("other")
    with pytest.raises(UnauthenticatedError, match="opens nothing"):
        admit(door, "_".join([*one.split("_", 2)[:2], other.split("_", 2)[2]]))


def test_an_expired_key_opens_nothing_even_when_it_is_known(keys, door):
    _, shown = keys.create("short", expires_at=datetime.now(UTC) + timedelta(hours=1))
    _, past = keys.create("past", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert admit(door, shown)
    with pytest.raises(UnauthenticatedError):
        admit(door, past)


def test_many_requests_ask_the_catalog_once(keys, door):
    _, shown = keys.create("dashboard")
    admit(door, *[shown] * 50)
    assert keys.asked == 1


def test_a_revoked_key_ends_within_the_stated_time(keys, door, clock):
    key, shown = keys.create("dashboard")
    admit(door, shown)
    keys.revoke(key.id)
    clock.now_s += BELIEVED_S
    with pytest.raises(UnauthenticatedError):
        admit(door, shown)


def test_a_known_key_stays_good_while_the_catalog_is_away(keys, door, clock):
    _, shown = keys.create("dashboard")
    admit(door, shown)
    keys.away = True
    clock.now_s += BELIEVED_S
    assert admit(door, shown)
    clock.now_s += BELIEVED_AWAY_S
    with pytest.raises(DatabaseUnavailableError):
        admit(door, shown)


def test_whoever_tries_keys_is_slowed_down_and_others_are_not(keys, door):
    _, shown = keys.create("dashboard")
    for number in range(30):
        with pytest.raises(UnauthenticatedError):
            admit(door, f"{shown[:-6]}{number:06d}")

    def go_on() -> None:
        for number in range(100):  # a slow host gives some back meanwhile
            with suppress(UnauthenticatedError):
                admit(door, f"{shown[:-6]}9{number:05d}")

    with pytest.raises(TooManyRequestsError):
        go_on()
    assert admit(door, shown, address="10.0.0.2")


def test_a_key_that_has_opened_the_door_is_no_try_later_either(keys, door, clock):
    _, shown = keys.create("dashboard")
    admit(door, shown)
    for number in range(29):
        with pytest.raises(UnauthenticatedError):
            admit(door, f"{shown[:-6]}{number:06d}")
    for _ in range(5):
        clock.now_s += BELIEVED_S
        admit(door, shown)  # at the same address


def test_the_last_use_is_written_down(keys, clock):
    key, shown = keys.create("dashboard")

    async def use() -> None:
        ring = KeyRing(keys, clock=clock)
        await ring.find(shown)
        await asyncio.gather(*ring._noting)

    asyncio.run(use())
    found = keys.find(key.id)
    assert found is not None
    assert found.last_used_at is not None
