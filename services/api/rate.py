"""How fast one caller may ask: a token bucket for each key, subject or address, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class TokenBuckets:
    """Each caller has `burst` tokens, given back at `rate_per_s`; a request takes one. Used from the event loop only.

    At most `capacity` callers are remembered. The one unheard of for longest is forgotten first and begins anew, full:
    whoever commands more addresses than that is a matter for the network before us.
    """

    def __init__(
        self, *, rate_per_s: float, burst: int, capacity: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert rate_per_s > 0, "a limit of nothing answers nobody"
        assert burst >= 1, "a bucket holds at least one token"
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._capacity = capacity
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str, *, tokens: int = 1, paid: int = 0) -> float:
        """Take tokens; returns 0, or the seconds after which asking again makes sense (then nothing was taken).

        More tokens than the bucket holds cost all of it, so that a large batch waits for a full bucket, not for ever.

        Args:
            caller: Whose bucket.
            tokens: How many.
            paid: What the same request has taken before, and whoever asks again takes again.
        """
        bucket = self._refilled(caller)
        wanted = min(float(tokens), self._burst - paid)
        if bucket.tokens >= wanted:
            bucket.tokens -= wanted
            return 0.0
        return (wanted + paid - bucket.tokens) / self._rate_per_s

    def _refilled(self, caller: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at_s) * self._rate_per_s)
            bucket.filled_at_s = now
        return bucket
