"""What S3 adds to the contract: lines that break, servers that go away, refusals, and S3 on Outposts."""

import datetime as dt
import hashlib
import ipaddress
import random
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.core.errors import (
    ObjectNotFoundError,
    RequestError,
    StorageRefusedError,
    StorageUnavailableError,
    SwathError,
)
from services.core.settings import Settings
from services.core.storage import ObjectStore, RasterOpener, check_store, open_store
from tests.s3_server import CannedS3, FaultyProxy, S3Server

MIB = 2**20
OUTPOSTS_ARN = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/swath"
pytestmark = pytest.mark.s3


@pytest.fixture
def proxy(s3_server: S3Server) -> Any:
    with FaultyProxy(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def far_store(s3_server: S3Server, s3_uri: str, proxy: FaultyProxy) -> ObjectStore:
    """The server through the proxy; three tries a request."""
    return open_store(s3_uri, s3_server.settings(s3_endpoint_url=proxy.endpoint_url))


@pytest.fixture
def near_store(s3_server: S3Server, s3_uri: str) -> ObjectStore:
    """The same objects without the proxy."""
    return open_store(s3_uri, s3_server.settings())


def test_a_download_that_breaks_off_is_read_again(far_store: ObjectStore, proxy: FaultyProxy, tmp_path: Path):
    data = random.Random(4).randbytes(20 * MIB)
    far_store.put("object", data)
    reads = (
        lambda: far_store.get("object"),
        lambda: far_store.open("object").read(),
        lambda: far_store.fetch("object", tmp_path / "copy") or (tmp_path / "copy").read_bytes(),
    )

    for read in reads:
        proxy.cut_answers(after_bytes=300_000, times=1)
        assert read() == data
    assert proxy.cuts_made == len(reads)


def test_a_download_that_always_breaks_off_is_given_up(far_store: ObjectStore, proxy: FaultyProxy, tmp_path: Path):
    far_store.put("object", bytes(2 * MIB))
    proxy.cut_answers(after_bytes=1000, times=1000)

    for read in (far_store.get, far_store.open, lambda key: far_store.fetch(key, tmp_path / "copy")):
        with pytest.raises(StorageUnavailableError, match=r"/object.*try again later"):
            read("object")
    assert list(tmp_path.glob("copy*")) == []


def test_a_raster_read_reports_why_the_line_broke(far_store: ObjectStore, proxy: FaultyProxy):
    far_store.put("object", bytes(5 * MIB))
    files = RasterOpener(far_store, "object")
    served = files("/vsi/object")
    assert served.read(10) == bytes(10)
    proxy.stop()

    served.seek(4 * MIB)
    assert served.read(10) == b""  # an exception here could crash GDAL
    with pytest.raises(StorageUnavailableError, match="/object cannot be reached"):
        files.check()


def test_a_server_that_comes_back_is_waited_for(far_store: ObjectStore, proxy: FaultyProxy):
    far_store.put("before", b"1")
    proxy.stop()
    back = threading.Timer(0.6, proxy.start)
    back.start()

    far_store.put("during", b"2")  # tried at once, after 0.05 s and after 1 to 2 s

    assert not back.is_alive()
    assert far_store.get("during") == b"2"


def test_a_server_that_stays_away_is_reported(far_store: ObjectStore, proxy: FaultyProxy, tmp_path: Path):
    proxy.stop()
    (tmp_path / "source").write_bytes(bytes(17 * MIB))

    for call in (
        lambda: far_store.put("object", b"x"),
        lambda: far_store.put_file("object", tmp_path / "source"),
        lambda: far_store.exists("object"),
        lambda: list(far_store.list("object")),
    ):
        with pytest.raises(StorageUnavailableError, match=r"s3://.*/object cannot be reached"):
            call()


def test_an_upload_that_dies_leaves_the_old_object(
    far_store: ObjectStore, near_store: ObjectStore, proxy: FaultyProxy, tmp_path: Path
):
    near_store.put("object", b"old")
    (tmp_path / "new").write_bytes(bytes(60 * MIB))
    threading.Timer(0.15, proxy.stop).start()

    with pytest.raises(StorageUnavailableError):
        far_store.put_file("object", tmp_path / "new")

    assert near_store.get("object") == b"old"
    assert list(near_store.list("")) == ["object"]


def test_a_missing_bucket_is_the_installations_fault(s3_server: S3Server, tmp_path: Path):
    store = open_store("s3://swath-no-such-bucket/prefix", s3_server.settings())
    calls = (
        lambda: store.get("key"),
        lambda: store.put("key", b"x"),
        lambda: store.exists("key"),
        lambda: store.open("key"),
        lambda: store.fetch("key", tmp_path / "copy"),
        lambda: list(store.list("")),
    )

    for call in calls:
        with pytest.raises(StorageRefusedError, match="no such bucket"):
            call()
    assert [finding.ok for finding in check_store(store)] == [False]


def test_the_doctor_says_whether_conditional_writes_work(near_store: ObjectStore):
    findings = {finding.name: finding for finding in check_store(near_store)}

    assert "honoured" in findings["store: conditional write"].detail


def test_an_upload_is_signed_with_the_digest_of_its_body(near_store: Any, tmp_path: Path):
    (tmp_path / "source").write_bytes(b"in a file")
    seen = []
    near_store._client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request.headers))

    near_store.put("a", b"in memory")
    near_store.put_file("b", tmp_path / "source")

    digests = [headers["X-Amz-Content-SHA256"] for headers in seen]
    assert [d if isinstance(d, str) else d.decode() for d in digests] == [
        hashlib.sha256(b"in memory").hexdigest(),
        hashlib.sha256(b"in a file").hexdigest(),
    ]


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate of our own for 127.0.0.1, and the CA file that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "swath test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca_file, key_file = tmp_path / "ca.pem", tmp_path / "key.pem"
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca_file, key_file)
    return context, ca_file


def test_a_private_ca_is_trusted_when_named_and_refused_when_not(
    s3_server: S3Server, s3_uri: str, tls: tuple[ssl.SSLContext, Path]
):
    with FaultyProxy(s3_server.port, tls=tls[0]) as proxy:
        trusting = open_store(s3_uri, s3_server.settings(s3_endpoint_url=proxy.endpoint_url, s3_ca_bundle=tls[1]))
        trusting.put("key", b"over tls")
        strict = open_store(s3_uri, s3_server.settings(s3_endpoint_url=proxy.endpoint_url, s3_attempts=2))

        assert trusting.get("key") == b"over tls"
        with pytest.raises(StorageRefusedError, match="SWATH_S3_CA_BUNDLE"):
            strict.get("key")


def test_https_asked_of_a_plain_server_is_refused(s3_server: S3Server, s3_uri: str):
    url = s3_server.endpoint_url.replace("http://", "https://")

    with pytest.raises(StorageRefusedError, match="SWATH_S3_ENDPOINT_URL"):
        open_store(s3_uri, s3_server.settings(s3_endpoint_url=url)).get("key")


# What follows needs no server: it asks what botocore is made to send, and what its answers are made to mean.


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_EC2_METADATA_DISABLED": "1",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**values, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("status", "code", "error", "requests"),
    [
        (404, "NoSuchKey", ObjectNotFoundError, 1),
        (404, "NoSuchBucket", StorageRefusedError, 1),
        (403, "AccessDenied", StorageRefusedError, 1),
        (403, "InvalidAccessKeyId", StorageRefusedError, 1),
        (403, "SignatureDoesNotMatch", StorageRefusedError, 1),
        (400, "ExpiredToken", StorageRefusedError, 1),
        (400, "SomethingNobodyListed", StorageRefusedError, 1),
        (409, "ExistingObjectIsDirectory", StorageRefusedError, 1),
        (501, "NotImplemented", StorageRefusedError, 1),
        (412, "PreconditionFailed", StorageUnavailableError, 1),
        (400, "BadDigest", StorageUnavailableError, 1),
        (507, "InsufficientStorage", StorageUnavailableError, 1),
        (500, "InternalError", StorageUnavailableError, 2),
        (503, "SlowDown", StorageUnavailableError, 2),
        (503, "", StorageUnavailableError, 2),
        (429, "TooManyRequests", StorageUnavailableError, 2),
    ],
)
def test_every_answer_has_one_meaning(status: int, code: str, error: type[SwathError], requests: int):
    with CannedS3(status, code) as canned:
        settings = Settings(s3_endpoint_url=canned.endpoint_url, s3_addressing_style="path", s3_attempts=2)
        store = open_store("s3://bucket/prefix", settings)

        for call in (lambda: store.get("the/key"), lambda: store.put("the/key", b"x")):
            with pytest.raises(error, match="s3://bucket/prefix/the/key") as caught:
                call()
            assert "hush" not in str(caught.value)
    assert canned.requests == 2 * requests


@pytest.mark.usefixtures("credentials")
def test_a_refused_transfer_is_a_refusal(tmp_path: Path):
    (tmp_path / "source").write_bytes(b"x")
    with CannedS3(403, "AccessDenied") as canned:
        settings = Settings(s3_endpoint_url=canned.endpoint_url, s3_addressing_style="path")
        store = open_store("s3://bucket", settings)

        for transfer, path in ((store.put_file, tmp_path / "source"), (store.fetch, tmp_path / "copy")):
            with pytest.raises(StorageRefusedError, match="access denied"):
                transfer("key", path)


@pytest.mark.usefixtures("credentials")
def test_a_refused_head_is_a_refusal_not_an_absence():
    with CannedS3(403, "AccessDenied") as canned:
        settings = Settings(s3_endpoint_url=canned.endpoint_url, s3_addressing_style="path")
        with pytest.raises(StorageRefusedError, match="access denied"):
            open_store("s3://bucket", settings).exists("key")


@pytest.mark.usefixtures("credentials")
def test_no_credentials_are_a_refusal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(StorageRefusedError, match="no usable credentials"):
        open_store("s3://bucket", Settings(s3_endpoint_url="http://127.0.0.1:9")).get("key")


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"s3_ca_bundle": Path("/absent/ca.pem")}, "/absent/ca.pem"),
        ({"s3_endpoint_url": "not a url"}, "SWATH_S3_ENDPOINT_URL"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], said: str):
    with pytest.raises(StorageRefusedError, match=said):
        open_store("s3://bucket", Settings(**settings))


@pytest.mark.usefixtures("credentials")
def test_a_password_in_the_endpoint_is_never_repeated():
    settings = Settings(s3_endpoint_url="http://user:hush-hush@127.0.0.1:9", s3_attempts=1)

    with pytest.raises(SwathError) as caught:
        open_store("s3://bucket", settings).get("key")
    assert "hush" not in str(caught.value)


def _requests_of(store: Any, tmp_path: Path) -> list[Any]:
    """What the store would send for one call of each method, caught before the network."""
    seen: list[Any] = []

    class CaughtError(Exception):
        """Stops the request here."""

    def catch(request: Any, **_: object) -> None:
        seen.append(request)
        raise CaughtError

    store._client.meta.events.register("before-send.s3", catch)
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(bytes(17 * MIB))
    for call in (
        lambda: store.put("k", b"x"),
        lambda: store.put_file("k", tmp_path / "small"),
        lambda: store.put_file("k", tmp_path / "large"),
        lambda: store.get("k"),
        lambda: store.fetch("k", tmp_path / "copy"),
        lambda: store.open("k"),
        lambda: store.size("k"),
        lambda: list(store.list("")),
        lambda: store.delete("k"),
    ):
        with pytest.raises(CaughtError):
            call()
    return seen


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("region", [None, "eu-west-1"])
def test_outposts_requests_go_to_the_access_point_signed_for_it(tmp_path: Path, region: str | None):
    settings = Settings(s3_endpoint_url="https://ignored.example.org", s3_region=region, s3_addressing_style="path")
    store = open_store(f"s3://{OUTPOSTS_ARN}/scenes/2026", settings)

    requests = _requests_of(store, tmp_path)

    host = "https://swath-123456789012.op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com/"
    assert len(requests) == 9
    for request in requests:
        signed = request.headers["Authorization"]
        assert request.url.startswith(host)
        assert "/us-west-2/s3-outposts/aws4_request" in (signed if isinstance(signed, str) else signed.decode())
        assert not [name for name in request.headers if name.lower().startswith(("x-amz-checksum", "x-amz-trailer"))]
    assert {request.url.removeprefix(host).partition("?")[0] for request in requests} == {"scenes/2026/k", ""}


@pytest.mark.usefixtures("credentials")
def test_an_ordinary_bucket_goes_to_its_endpoint_signed_for_s3(tmp_path: Path):
    settings = Settings(
        s3_endpoint_url="https://s3.example.org:9000", s3_region="eu-west-1", s3_addressing_style="path"
    )

    request = _requests_of(open_store("s3://bucket/prefix", settings), tmp_path)[0]

    assert request.url == "https://s3.example.org:9000/bucket/prefix/k"
    assert b"/eu-west-1/s3/aws4_request" in request.headers["Authorization"]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3:///key",
        "s3://KEYID:hush-hush@bucket/prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/swath/prefix",
        f"s3://{OUTPOSTS_ARN.replace('op-', 'xx-')}/prefix",
        f"s3://{OUTPOSTS_ARN.replace('123456789012', '12')}/prefix",
    ],
)
def test_an_s3_uri_that_names_no_bucket_is_refused_without_repeating_it(uri: str):
    with pytest.raises(RequestError) as caught:
        open_store(uri, Settings())
    assert "hush" not in str(caught.value)
