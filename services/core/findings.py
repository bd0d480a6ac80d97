"""What one check of an installation found; `swath doctor` prints them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, whether it is as it should be, and what to do if not."""

    name: str  #: what was looked at, a few words
    ok: bool  #: False fails the installation; a mere observation is True
    detail: str  #: one sentence: what was seen
    advice: str | None = None  #: what to do; None when there is nothing to do
    passing: bool = False  #: a fault that may go away by itself: something did not answer
