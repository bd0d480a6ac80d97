"""Objects in S3: AWS, S3 on Outposts, or any endpoint that speaks it.

Uploads are verified by their signature: with `when_required` checksums botocore signs the SHA-256 of every
body and multipart part, also over https, and the store refuses a body that does not match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.core.errors import ObjectNotFoundError, StorageRefusedError, StorageUnavailableError
from services.core.settings import Settings
from services.core.storage.files import check_source
from services.core.storage.keys import S3Location, check_key, check_prefix, is_key
from services.core.storage.reader import BLOCK_BYTES, RangeReader, changed_under_reader
from services.core.storage.s3_errors import BROKEN_BODY, NeedsRetry, TornBodyError, meaning, s3_errors, wait_s

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

T = TypeVar("T")

_PART_BYTES = 16 * 2**20


def connect(location: S3Location, settings: Settings) -> S3Store:
    """The store at a bucket and prefix; credentials are boto3's own search, and are first looked for on use.

    Raises:
        StorageRefusedError: No such CA file, profile, or not an endpoint URL.
    """
    if settings.s3_ca_bundle is not None and not settings.s3_ca_bundle.is_file():
        raise StorageRefusedError(f"SWATH_S3_CA_BUNDLE names {settings.s3_ca_bundle}, which is not a file")
    config = Config(
        signature_version="s3v4",
        retries={"mode": "adaptive", "total_max_attempts": settings.s3_attempts},
        connect_timeout=settings.s3_timeout_s,
        read_timeout=settings.s3_timeout_s,
        max_pool_connections=32,
        # boto3's default trailers break many stores that are not AWS.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "auto" if location.on_outposts else settings.s3_addressing_style},
    )
    try:
        client = boto3.session.Session().client(  # a session of its own: boto3.client() is not thread-safe
            "s3",
            region_name=settings.s3_region,
            endpoint_url=None if location.on_outposts else settings.s3_endpoint_url,
            config=config,
            verify=str(settings.s3_ca_bundle) if settings.s3_ca_bundle else None,
        )
    except BotoCoreError as exc:
        raise meaning(exc, f"s3://{location.bucket}") from exc
    except ValueError as exc:
        raise StorageRefusedError("SWATH_S3_ENDPOINT_URL is not a URL such as https://s3.example.org:9000") from exc
    client.meta.events.register_first("needs-retry.s3", NeedsRetry(settings.s3_attempts))  # type: ignore[arg-type]
    return S3Store(client, location, attempts=settings.s3_attempts)


class S3Store:
    """An `ObjectStore` under one prefix of one bucket. Every request is tried `attempts` times."""

    uri: str

    def __init__(self, client: S3Client, location: S3Location, *, attempts: int) -> None:
        self._client = client
        self._bucket = location.bucket
        self._prefix = f"{location.path}/" if location.path else ""
        self._attempts = attempts
        self._bucket_seen = False
        self.uri = f"s3://{location.bucket}/{location.path}".rstrip("/")

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        with s3_errors(self._name(key)):
            self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=data)

    def put_file(self, key: str, path: Path) -> None:
        """See `ObjectStore.put_file`; in parts of 16 MiB, each tried again on its own."""
        with s3_errors(self._name(key)):
            self._client.upload_file(
                str(check_source(path)), self._bucket, self._full(key), Config=self._transfer_config()
            )

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._read(key, lambda: self._body(self._get_object(key)))

    def fetch(self, key: str, path: Path) -> None:
        """See `ObjectStore.fetch`; in parallel ranges of one version, renamed into place when complete."""
        with s3_errors(self._name(key), local=path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._client.download_file(self._bucket, self._full(key), str(path), Config=self._transfer_config())
            except ClientError as exc:
                raise self._missing_or(exc, key) from exc

    def open(self, key: str) -> RangeReader:
        """See `ObjectStore.open`; one request brings size, version and the first 1 MiB."""

        def first_block() -> tuple[bytes, int, str]:
            try:
                response = self._get_object(key, f"bytes=0-{BLOCK_BYTES - 1}")
            except ClientError as exc:
                if exc.response["Error"]["Code"] not in {"InvalidRange", "416"}:
                    raise
                return b"", 0, ""  # an empty object has no first byte
            total = response.get("ContentRange", "").rpartition("/")[2]
            head = self._body(response)
            return head, int(total) if total.isdigit() else len(head), response["ETag"]

        head, size, etag = self._read(key, first_block)

        def read_range(start: int, stop: int) -> bytes:
            return self._read(key, lambda: self._unchanged(key, f"bytes={start}-{stop - 1}", etag))

        return RangeReader(read_range, size, name=self._name(key), head=head)

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            self.size(key)
        except ObjectNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        with s3_errors(self._name(key)):
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
            except ClientError as exc:
                raise self._missing_or(exc, key) from exc
        return head["ContentLength"]

    def list(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.list`."""
        whole = f"{self._prefix}{check_prefix(prefix)}"
        with s3_errors(f"{self.uri}/{prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=whole):
                keys = (item["Key"].removeprefix(self._prefix) for item in page.get("Contents", ()))
                yield from (key for key in keys if is_key(key))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`. One by one: old stores refuse the checksum of delete_objects."""
        with s3_errors(self._name(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def honours_if_none_match(self, key: str) -> bool:
        """Whether a conditional write of a key that exists is turned down. Nothing relies on it."""
        with s3_errors(self._name(key)):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=b"second", IfNoneMatch="*")
            except ClientError as exc:
                if exc.response["Error"]["Code"] in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                    return True
                if exc.response["Error"]["Code"] in {"NotImplemented", "InvalidArgument"}:
                    return False
                raise
        return False

    def _full(self, key: str) -> str:
        return f"{self._prefix}{check_key(key)}"

    def _name(self, key: str) -> str:
        return f"{self.uri}/{check_key(key)}"

    def _transfer_config(self) -> TransferConfig:
        return TransferConfig(
            multipart_threshold=_PART_BYTES,
            multipart_chunksize=_PART_BYTES,
            max_concurrency=4,
            num_download_attempts=self._attempts,
        )

    def _get_object(self, key: str, byte_range: str = "") -> GetObjectOutputTypeDef:
        if not byte_range:
            return self._client.get_object(Bucket=self._bucket, Key=self._full(key))
        return self._client.get_object(Bucket=self._bucket, Key=self._full(key), Range=byte_range)

    def _unchanged(self, key: str, byte_range: str, etag: str) -> bytes:
        """A range of the version with this ETag; stores that ignore If-Match still say which version they sent."""
        response = self._client.get_object(Bucket=self._bucket, Key=self._full(key), Range=byte_range, IfMatch=etag)
        if response["ETag"] != etag:
            response["Body"].close()
            raise changed_under_reader(self._name(key))
        return self._body(response)

    @staticmethod
    def _body(response: GetObjectOutputTypeDef) -> bytes:
        with response["Body"] as body:
            try:
                return body.read()
            except BROKEN_BODY as exc:
                raise TornBodyError from exc

    def _read(self, key: str, read: Callable[[], T]) -> T:
        """Read again when a body breaks off; a request that gets no good answer was already repeated by botocore."""
        name, tries = self._name(key), 0
        while True:
            try:
                with s3_errors(name):
                    return read()
            except TornBodyError as exc:
                tries += 1
                if tries == self._attempts:
                    reason = f"the answer broke off {tries} times"
                    raise StorageUnavailableError(f"{name}: {reason}; try again later") from exc
                time.sleep(wait_s(tries))

    def _missing_or(self, exc: ClientError, key: str) -> Exception:
        """What a failed HEAD means: it says 404 for a missing bucket too, so ask once whether that is there."""
        error = meaning(exc, self._name(key))
        if isinstance(error, ObjectNotFoundError) and not self._bucket_seen:
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as bucket_exc:
                if isinstance(meaning(bucket_exc, self.uri), ObjectNotFoundError):
                    return StorageRefusedError(f"{self._name(key)}: there is no such bucket")
            self._bucket_seen = True
        return error
