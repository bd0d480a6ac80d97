"""What the online service refuses before it looks at what was asked. `problems.py` gives each its status."""

from services.core.errors import PermanentError, RetryableError


class HeadError(PermanentError):
    """A request whose head is no HTTP: 400."""


class HeadTooLargeError(HeadError):
    """A request whose head has no end: 431."""


class UnauthenticatedError(PermanentError):
    """No key or token, or one that opens nothing: 401."""


class ForbiddenError(PermanentError):
    """A good token that may not do this: 403."""


class IdentityUnavailableError(RetryableError):
    """Whoever vouches for tokens does not answer: 503."""


class TooManyRequestsError(RetryableError):
    """One caller asks faster than it may: 429."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyError(RetryableError):
    """As much as may be done at once is being done: 503."""

    retry_after_s = 1.0


class OverloadedError(RetryableError):
    """More is asked than the network can answer in time: 503."""

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_ms / 1000


class TooSlowError(RetryableError):
    """The request did not arrive, or was not answered, in the time one request has: 408."""


class TooLargeError(PermanentError):
    """A body, an image or a batch beyond the limits: 413."""


class MediaTypeError(PermanentError):
    """Not an image of a kind that is taken, or not what it says it is: 415."""


class ImageError(PermanentError):
    """An image of a kind that is taken, but damaged, or not what the model can look at: 422."""
