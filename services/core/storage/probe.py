"""Whether a store does what Swath needs of it: for `swath doctor`, before anything is deployed."""

import secrets
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from services.core.errors import RetryableError, SwathError
from services.core.findings import Finding
from services.core.storage.stores import ObjectStore

_DATA = bytes(range(256)) * 16


@runtime_checkable
class HasConditionalWrites(Protocol):
    """A store that can be asked about If-None-Match."""

    def honours_if_none_match(self, key: str) -> bool:
        """Whether a conditional write of a key that exists is turned down."""


def check_store(store: ObjectStore) -> list[Finding]:
    """Write, read, list, read a range of, and delete one small object; stop at the first thing that fails.

    Never raises a SwathError: what went wrong is the last finding. An object it wrote is always tried to be deleted.
    """
    key = f"swath-doctor-{secrets.token_hex(8)}"
    findings = []
    for name, step in _steps(store, key):
        finding = _look(name, step)
        findings.append(finding)
        if not finding.ok:
            break
    last = _look("store: delete", lambda: _delete(store, key))
    return findings if findings[0].ok is False else [*findings, last]


def _steps(store: ObjectStore, key: str) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "store: write", lambda: _write(store, key)
    yield "store: read", lambda: _expect("the same bytes come back", right=store.get(key) == _DATA)
    yield "store: list", lambda: _expect("a new object is listed at once", right=key in store.list("swath-doctor-"))
    yield "store: ranged read", lambda: _ranged_read(store, key)
    if isinstance(store, HasConditionalWrites):
        probed = store
        yield "store: conditional write", lambda: _conditional_write(probed, key)


def _look(name: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=step())
    except SwathError as exc:
        if isinstance(exc, RetryableError):
            advice = "see that the store runs, is reachable from here and has space, then look again"
        else:
            advice = "see SWATH_STORE, SWATH_S3_* and the credentials, then look again"
        passing = isinstance(exc, RetryableError)
        return Finding(name=name, ok=False, detail=str(exc), advice=advice, passing=passing)


def _expect(claim: str, *, right: bool) -> str:
    if not right:
        raise SwathError(f"it is not so that {claim}: this store cannot hold Swath's objects")
    return claim


def _write(store: ObjectStore, key: str) -> str:
    store.put(key, _DATA)
    return f"{store.uri} can be written"


def _ranged_read(store: ObjectStore, key: str) -> str:
    with store.open(key) as reader:
        reader.seek(-1000, 2)
        return _expect("a part of an object can be read", right=reader.read(10) == _DATA[-1000:-990])


def _conditional_write(store: HasConditionalWrites, key: str) -> str:
    honoured = store.honours_if_none_match(key)
    return f"If-None-Match is {'honoured' if honoured else 'ignored'}; Swath does not rely on it"


def _delete(store: ObjectStore, key: str) -> str:
    store.delete(key)
    return _expect("a deleted object is gone", right=not store.exists(key))
