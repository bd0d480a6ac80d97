"""Which key a caller holds, without asking the catalog each time."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.api.refusals import UnauthenticatedError
from services.core.catalog.entries import ApiKey
from services.core.catalog.keys import Keys, opens, split_key
from services.core.errors import RetryableError
from services.core.log import get_logger

log = get_logger(__name__)

#: A revoked key opens nothing after this long: that is how long an answer of the catalog is believed.
BELIEVED_S = 10.0
#: While the catalog is away nobody can revoke a key either; the last answer is then believed for this long.
BELIEVED_AWAY_S = 300.0
#: How long a caller with a known key waits for a catalog that does not answer.
_PATIENCE_S = 1.0
_NOTED_EVERY = timedelta(minutes=1)
_CAPACITY = 4096


@dataclass(slots=True)
class _Answer:
    """What the catalog said of one text. `None`: it opens nothing."""

    key: ApiKey | None
    asked_at_s: float


class KeyRing:
    """Answers of the catalog about keys, each believed for a few seconds; bounded, and used from the event loop only.

    Texts are remembered by their hash only: what is kept shows no key.
    """

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._noting: set[asyncio.Task[None]] = set()

    def is_try(self, text: str) -> bool:
        """Whether the catalog must be asked about this text, which has a key's form and never opened anything."""
        if split_key(text) is None:
            return False
        fingerprint = _fingerprint(text)
        last = self._answers.get(fingerprint)
        return self._fresh(fingerprint) is None and (last is None or last.key is None)

    async def find(self, text: str) -> ApiKey:
        """The key that the text opens.

        Raises:
            UnauthenticatedError: None, or one that is revoked or has expired.
            DatabaseUnavailableError: The catalog is away, and this text is new to us.
        """
        parts = split_key(text)
        if parts is None:
            raise UnauthenticatedError("that is not a key of this service; keys begin with swath_")
        fingerprint = _fingerprint(text)
        answer = self._fresh(fingerprint)
        key = answer.key if answer is not None else await self._ask(fingerprint, *parts)
        if key is None or not key.usable_at(datetime.now(UTC)):
            raise UnauthenticatedError("this key opens nothing: it is unknown, revoked or expired; ask for a new one")
        return key

    def _fresh(self, fingerprint: bytes) -> _Answer | None:
        answer = self._answers.get(fingerprint)
        return answer if answer is not None and self._clock() - answer.asked_at_s < BELIEVED_S else None

    async def _ask(self, fingerprint: bytes, key_id: str, secret: str) -> ApiKey | None:
        """Ask the catalog, once for all who want to know at the same time."""
        task = self._asking.get(fingerprint)
        if task is None:
            task = asyncio.create_task(self._look_up(fingerprint, key_id, secret))
            self._asking[fingerprint] = task
            task.add_done_callback(lambda done: self._asked(fingerprint, done))
        last = self._last_good(fingerprint)
        try:
            return await asyncio.wait_for(asyncio.shield(task), _PATIENCE_S if last else None)
        except (TimeoutError, RetryableError):
            if last is None:
                raise
            return last

    def _asked(self, fingerprint: bytes, task: asyncio.Task[ApiKey | None]) -> None:
        self._asking.pop(fingerprint, None)
        if not task.cancelled() and task.exception() is not None:  # somebody must look, or asyncio complains
            log.warning("key not looked up", error=str(task.exception()))

    def _last_good(self, fingerprint: bytes) -> ApiKey | None:
        answer = self._answers.get(fingerprint)
        believed = answer is not None and self._clock() - answer.asked_at_s < BELIEVED_AWAY_S
        return answer.key if answer is not None and believed else None

    async def _look_up(self, fingerprint: bytes, key_id: str, secret: str) -> ApiKey | None:
        asked_at_s = self._clock()  # before, so that a revocation meanwhile is not believed away for longer
        key = await asyncio.to_thread(self._keys.find, key_id)
        if key is not None and not opens(key, secret):
            key = None
        self._answers[fingerprint] = _Answer(key, asked_at_s)
        self._answers.move_to_end(fingerprint)
        if len(self._answers) > _CAPACITY:
            self._answers.popitem(last=False)
        if key is not None:
            self._note(key)
        return key

    def _note(self, key: ApiKey) -> None:
        """Write down the use beside the request; nobody waits for it, and nothing is lost with it."""
        now = datetime.now(UTC)
        if key.last_used_at is not None and now - key.last_used_at < _NOTED_EVERY:
            return
        task = asyncio.create_task(self._write_use(key.id, now))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _write_use(self, key_id: str, moment: datetime) -> None:
        with suppress(RetryableError):
            await asyncio.to_thread(self._keys.note_use, key_id, moment)


def _fingerprint(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
