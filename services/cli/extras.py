"""What a command needs that Swath can be installed without."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.core.errors import BackendUnavailableError


@contextmanager
def needing_extra(extra: str, *, to: str) -> Iterator[None]:
    """Turn a library that is not installed into a sentence that names the extra.

    Args:
        extra: What brings it, `train`.
        to: What it is needed for, `judge a model`.

    Raises:
        BackendUnavailableError: An import within found no library.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith(("services", "flows")):
            raise  # ours: a bug
        raise BackendUnavailableError(
            f"{exc.name} is not installed, which is needed to {to}; run: pip install 'swath[{extra}]'"
        ) from exc
