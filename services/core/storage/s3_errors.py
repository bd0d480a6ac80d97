"""What botocore's exceptions mean for the caller, by table; the rest of Swath never sees them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  # botocore's own, a parent of the timeouts
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from s3transfer.exceptions import S3DownloadFailedError
from urllib3.exceptions import HTTPError

from services.core.errors import (
    ObjectNotFoundError,
    RequestError,
    StorageRefusedError,
    StorageUnavailableError,
    SwathError,
)
from services.core.storage.files import local_meaning
from services.core.storage.reader import changed_under_reader

#: What reading a body raises when it breaks off.
BROKEN_BODY = (IncompleteReadError, HTTPClientError, HTTPError)


class TornBodyError(Exception):
    """A response began well and broke off: botocore leaves repeating it to us. Never leaves this package."""


_CREDENTIALS = "check the access key, secret and token"
_REFUSED = {
    "NoSuchBucket": "there is no such bucket",
    "NoSuchAccessPoint": "there is no such access point",
    "InvalidBucketName": "the store does not accept the bucket's name",
    "AllAccessDisabled": "access to the bucket is disabled",
    "AccessDenied": "access denied; check the policy of the role or key (get, put, list and delete are needed)",
    "403": "access denied; check the credentials and the policy of the role or key",
    "InvalidAccessKeyId": f"the access key is unknown; {_CREDENTIALS}",
    "XAdminUserNotFound": f"the access key is unknown; {_CREDENTIALS}",  # versitygw
    "SignatureDoesNotMatch": f"the signature is wrong; {_CREDENTIALS}",
    "InvalidToken": f"the session token is wrong; {_CREDENTIALS}",
    "ExpiredToken": f"the session token has expired; {_CREDENTIALS}",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another Region; set SWATH_S3_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another Region; set SWATH_S3_REGION",
    "ExistingObjectIsDirectory": "one object cannot be the folder of another",  # versitygw, as in a folder
    "ObjectParentIsFile": "one object cannot be the folder of another",
    "301": "the bucket is in another Region; set SWATH_S3_REGION",
}
_MISSING = {"NoSuchKey", "NoSuchVersion", "NotFound", "404"}
_CHANGED = {"PreconditionFailed", "412"}
_RETRYABLE = {
    "InternalError",
    "SlowDown",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "OperationAborted",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "BadDigest",  # bytes changed on the way
    "XAmzContentSHA256Mismatch",
    "NoSuchUpload",  # somebody cleaned up under a multipart upload
    "QuotaExceeded",  # Ceph: full
    "InsufficientCapacity",  # S3 on Outposts: full
    "InsufficientStorage",
    "429",
}
_AWAY = (ConnectionError, IncompleteReadError, HTTPClientError, HTTPError)
#: Parts of OpenSSL's names for faults that stay; a handshake cut short says EOF.
_LASTING_TLS_FAULTS = ("CERTIFICATE", "WRONG_VERSION", "HANDSHAKE_FAILURE", "UNSUPPORTED_PROTOCOL", "RECORD_LAYER")
#: Errors of the client's side: first match wins.
_CLIENT_SIDE: tuple[tuple[tuple[type[Exception], ...], type[SwathError], str], ...] = (
    # Raised for one reason: the ETag changed between two ranges.
    ((S3DownloadFailedError,), StorageUnavailableError, "was replaced while it was being read; fetch it again"),
    ((ParamValidationError,), RequestError, "is not a bucket and key that boto3 accepts"),
    (
        (NoCredentialsError, PartialCredentialsError, NoAuthTokenError, ProfileNotFound),
        StorageRefusedError,
        "cannot be used: no usable credentials; give AWS_ACCESS_KEY_ID, a profile or a role",
    ),
    # The Pod Identity agent, the instance's metadata service or STS did not answer: that passes.
    (
        (CredentialRetrievalError, MetadataRetrievalError),
        StorageUnavailableError,
        "cannot be used: the service that gives credentials does not answer ({name}); try again later",
    ),
    (
        (*_AWAY, Boto3Error),
        StorageUnavailableError,
        "cannot be reached: the store does not answer properly ({name}); try again later",
    ),
)
_OURS_TO_TRANSLATE = (ClientError, BotoCoreError, Boto3Error, S3DownloadFailedError, HTTPError)


@contextmanager
def s3_errors(subject: str, *, local: Path | None = None) -> Iterator[None]:
    """Translate botocore's and s3transfer's errors about `subject`, a URI, and the disk's about `local`."""
    try:
        yield
    except _OURS_TO_TRANSLATE as exc:  # before OSError: botocore's timeouts are OSErrors without an errno
        raise meaning(exc, subject) from exc
    except OSError as exc:
        raise local_meaning(exc, str(local or subject), writing=True) from exc


def meaning(exc: Exception, subject: str) -> SwathError:
    """The Swath error for one of botocore's; an unlisted code is a refusal, never a retry."""
    if isinstance(exc, S3UploadFailedError) and isinstance(exc.__context__, ClientError):
        exc = exc.__context__
    if isinstance(exc, ClientError):
        return _client_error_meaning(exc, subject)
    if _lasting_tls_fault(exc):
        advice = "set SWATH_S3_CA_BUNDLE, or see that SWATH_S3_ENDPOINT_URL is right about https"
        return StorageRefusedError(
            f"{subject}: the endpoint's certificate is not trusted, or it speaks no TLS; {advice}"
        )
    # The class name alone: botocore's message repeats the endpoint, which may hold a password.
    name = type(getattr(exc, "last_exception", exc)).__name__
    for classes, error, reason in _CLIENT_SIDE:
        if isinstance(exc, classes):
            return error(f"{subject} {reason.format(name=name)}")
    return StorageRefusedError(f"{subject}: boto3 refused ({name}); check the SWATH_S3_* settings")


def _lasting_tls_fault(exc: Exception | None) -> bool:
    return isinstance(exc, SSLError) and any(fault in str(exc).upper() for fault in _LASTING_TLS_FAULTS)


def _client_error_meaning(exc: ClientError, subject: str) -> SwathError:
    code = str(exc.response.get("Error", {}).get("Code", "unknown"))
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING:
        return ObjectNotFoundError(f"{subject}: no such object")
    if code in _CHANGED:
        return changed_under_reader(subject)
    if code in _RETRYABLE or (status >= 500 and code != "NotImplemented"):
        return StorageUnavailableError(f"{subject}: the store is busy, failing or full ({code}); try again later")
    return StorageRefusedError(f"{subject}: {_REFUSED.get(code, f'the store refused ({code})')}")


def wait_s(tries: int) -> float:
    """Seconds to wait after so many failed tries, with jitter: at once, then 1-2, 2-4, … 10-20.

    Eight tries span 35 to 70 s: a store in Kubernetes that was killed twice came back after 32 s.
    """
    if tries <= 1:
        return random.uniform(0, 0.05)  # noqa: S311  # jitter, not a secret
    return random.uniform(0.5, 1) * min(2.0 ** (tries - 1), 20.0)  # noqa: S311


class NeedsRetry:
    """A botocore `needs-retry` handler that waits for a store that is away.

    botocore's own rules decide about throttling; for a dead server they wait 3 s in all over eight tries
    (https://github.com/boto/botocore/blob/1.44.5/botocore/retries/standard.py, `non_throttling_base_scale`).
    """

    def __init__(self, attempts_allowed: int) -> None:
        self._attempts_allowed = attempts_allowed

    def __call__(self, *, attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
        """Seconds to wait before the next try, or None: botocore decides. `attempts` counts the tries made."""
        status = 0 if response is None else int(response[0].status_code)
        away = isinstance(caught_exception, _AWAY) and not _lasting_tls_fault(caught_exception)
        if attempts < self._attempts_allowed and (away or status in {500, 502, 503, 504}):
            return wait_s(attempts)
        return None
