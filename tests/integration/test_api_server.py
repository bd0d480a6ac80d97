"""`swath serve` as a process: how it begins and ends, what it does when too much is asked, and a model exchanged."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from services.api.connection import HEAD_BYTES
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.model.package import ModelPackage
from services.core.site import open_site
from tests.models import make_classifier
from tests.processes import LIMIT_S, Installation
from tests.served import Service, encode, make_pixels, serving

IMAGE = encode(make_pixels())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_classifier(tmp_path_factory.mktemp("package") / "m")


def promote(installation: Installation, package: ModelPackage) -> None:
    with open_site(installation.settings()) as site:
        site.models.keep(package)
        Stages(site.catalog).promote(package.digest, stage=ModelStage.PRODUCTION, who="test", why="test")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def served_digest(service: Service) -> str:
    return str(service.predict(IMAGE).json()["model"]["digest"])


def test_it_is_ready_when_it_says_so_and_ends_with_zero(installation, package):
    with serving(installation, package.root, SWATH_API_ACCESS_LOG="true") as service:
        assert service.client.get("/health/ready").json()["status"] == "ready"
        assert service.predict(IMAGE).status_code == 200
        service.process.send_signal(signal.SIGTERM)
        code, log = service.end()
    assert code == 0
    assert '"route": "/predict"' in log


def test_what_is_under_way_is_answered_before_the_end(installation, package):
    with serving(installation, package.root, SWATH_API_LINGER_S="60") as service:
        begun = threading.Event()

        def slow() -> "list[bytes]":
            def parts():
                yield IMAGE[:100]
                begun.set()
                wait_for(lambda: service.client.get("/health/ready").status_code == 503)
                yield IMAGE[100:]

            headers = {"Content-Type": "image/jpeg"}
            return httpx.post(f"{service.started['url']}/predict", content=parts(), headers=headers, timeout=60)

        with ThreadPoolExecutor() as pool:
            answer = pool.submit(slow)
            assert begun.wait(LIMIT_S)
            service.process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.end()[0] == 0


def test_callers_are_told_to_go_elsewhere_as_soon_as_the_end_is_near(installation, package):
    with serving(installation, package.root, SWATH_API_LINGER_S="60") as service:
        assert "Connection" not in service.predict(IMAGE).headers
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.client.get("/health/ready").status_code == 503)
        answers = [service.predict(IMAGE), service.client.get("/health/live"), service.client.get("/nothing")]
        assert [(each.status_code, each.headers["Connection"]) for each in answers] == [
            (200, "close"),
            (200, "close"),
            (404, "close"),
        ]
        service.process.send_signal(signal.SIGTERM)
        assert service.end()[0] == 0


def test_what_was_sent_before_the_end_is_answered_on_connections_old_and_new(installation, package):
    with serving(installation, package.root) as service, ExitStack() as stack:
        connections = [stack.enter_context(connected(service)) for _ in range(4)]
        for old in connections[:2]:  # the others are idle from the beginning
            old.sendall(HEAD + b"\r\n")
            assert old.recv(2**16).startswith(b"HTTP/1.1 200 ")
        service.process.send_signal(signal.SIGSTOP)
        connections += [stack.enter_context(connected(service)) for _ in range(8)]
        service.process.send_signal(signal.SIGTERM)
        for each in connections:
            each.sendall(HEAD + b"\r\n")
        service.process.send_signal(signal.SIGCONT)
        answers = [b"".join(iter(lambda it=each: it.recv(2**16), b"")) for each in connections]
        assert service.end()[0] == 0
    assert [b"HTTP/1.1 200 " in answer for answer in answers] == [True] * 12
    assert all(b"\r\nconnection: close\r\n" in answer for answer in answers)


def test_too_many_at_once_are_told_when_to_come_back_and_the_rest_is_answered(installation, package):
    limits = {"SWATH_API_QUEUE_CHIPS": "2", "SWATH_API_THREADS": "1"}
    with serving(installation, package.root, **limits) as service, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: service.predict(IMAGE), range(200)))
        refused = [each for each in answers if each.status_code == 503]
        assert refused
        assert {each.status_code for each in answers} <= {200, 503}
        assert all(each.json()["retry_after_ms"] > 0 and int(each.headers["Retry-After"]) >= 1 for each in refused)
        assert service.predict(IMAGE).status_code == 200


def test_a_promoted_model_takes_over_and_no_request_is_lost(installation, package, tmp_path: Path):
    better = make_classifier(tmp_path / "better", mean=(80.0, 90.0, 100.0))
    promote(installation, package)
    with serving(installation, "chance-rgb") as service, ThreadPoolExecutor(8) as pool:
        assert served_digest(service) == package.digest
        stop, statuses = threading.Event(), []

        def keep_asking() -> None:
            while not stop.is_set():
                statuses.append(service.predict(IMAGE).status_code)

        askers = [pool.submit(keep_asking) for _ in range(4)]
        promote(installation, better)
        wait_for(lambda: served_digest(service) == better.digest)
        stop.set()
        assert [each.result() for each in askers] == [None] * 4
    assert set(statuses) == {200}


def test_a_broken_promotion_leaves_the_old_model_in_service(installation, package, tmp_path: Path):
    broken = make_classifier(tmp_path / "broken", mean=(80.0, 90.0, 100.0))
    promote(installation, package)
    with serving(installation, "chance-rgb") as service:
        promote(installation, broken)
        folder = Path(installation.settings().store_uri) / "models" / broken.digest
        (folder / "model.onnx").write_bytes(b"rotten")
        wait_for(lambda: "swath_model_swap_failures_total 1.0" in service.client.get("/metrics").text)
        assert served_digest(service) == package.digest
        service.process.send_signal(signal.SIGTERM)
        assert "the old one stays" in service.end()[1]


def test_a_taken_port_is_one_sentence(installation, package):
    with serving(installation, package.root) as service:
        port = service.started["url"].rpartition(":")[2]
        answer = installation.swath("serve", "--port", port, "--model", package.root)
        assert answer.code == 78
        assert "cannot be listened on" in answer.sentence


@pytest.mark.parametrize(
    ("words", "environment", "code", "said"),
    [
        (["--model", "nothing-of-this-name"], {}, 65, "no model nothing-of-this-name"),
        (["--model", "landcover-l7"], {}, 65, "classification"),
        ([], {"SWATH_API_HOST": "0.0.0.0", "SWATH_API_AUTH": "none"}, 78, "SWATH_API_ANONYMOUS"),
        ([], {"SWATH_API_AUTH": "oidc"}, 78, "SWATH_API_OIDC_ISSUER"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(installation, words, environment, code, said):
    answer = installation.swath("serve", "--port", 0, *words, **environment)
    assert answer.code == code
    assert said in answer.sentence


def test_without_torch_and_other_weights(installation, package):
    with serving(installation, package.root) as service:
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert [name for name in ("torch", "pyarrow", "prefect", "openvino") if f"/{name}/" in maps] == []


def test_a_database_that_is_gone_is_said_by_ready_and_not_by_live(installation, package):
    with serving(installation, package.root, SWATH_DATABASE_PATIENCE_S="1") as service:
        database = installation.folder / "home" / "swath.db"
        database.write_bytes(b"no longer a database" * 1000)
        wait_for(lambda: service.client.get("/health/ready").status_code == 503)
        assert service.client.get("/health/ready").json()["parts"]["database"] != "ok"
        assert service.client.get("/health/live").status_code == 200


def test_a_store_that_hangs_does_not_hold_up_the_end(installation, package):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and answers nothing
        store = {
            "SWATH_STORE": "s3://maps",
            "SWATH_S3_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }
        with serving(installation, package.root, **store) as service:
            parts = service.client.get("/health/ready").json()["parts"]
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            code, _ = service.end()
    assert parts["store"] == "no answer in 2 s"
    assert (code, time.monotonic() - began < 10) == (0, True)


@pytest.mark.parametrize(("proxies", "second"), [("", 429), ("127.0.0.0/8", 200), ("10.0.0.0/8", 429)])
def test_only_a_known_proxy_may_say_who_the_caller_is(installation, package, proxies, second):
    limits = {"SWATH_API_RATE_PER_S": "0.001", "SWATH_API_RATE_BURST": "1", "SWATH_API_PROXIES": proxies}
    with serving(installation, package.root, **limits) as service:
        headers = [{"Content-Type": "image/jpeg", "X-Forwarded-For": f"203.0.113.{caller}"} for caller in (1, 2, 2)]
        answers = [service.client.post("/predict", content=IMAGE, headers=each).status_code for each in headers]
    assert answers == [200, second, 429]


HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        (HEAD, 408, "too-slow"),
        (HEAD + b"x: " + b"a" * (HEAD_BYTES - len(HEAD) - 2), 431, "head"),  # a byte more than is taken
        (HEAD + b"x: " + b"a" * HEAD_BYTES + b"\r\n\r\n", 431, "head"),  # whole, and sent at once
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400, "request"),
        (b"FOO /predict HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request"),
        (b"", None, None),
    ],
)
def test_a_head_that_does_not_end_is_refused(impatient, sent, status, kind):
    with connected(impatient) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    if status is None:
        assert answer == b""
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    problem = json.loads(body)
    assert problem["type"] == f"urn:swath:problem:{kind}"
    assert b"\r\nx-request-id: %s\r\n" % problem["request_id"].encode() in head


def test_a_large_head_behind_another_request_is_refused_too(impatient):
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"\r\n" + HEAD + b"x: " + b"a" * HEAD_BYTES + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert b"HTTP/1.1 431 " in answer


def test_a_large_body_sent_with_its_head_is_none_of_the_heads_business(impatient):
    body = IMAGE.ljust(2 * HEAD_BYTES, b"\0")
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connected(impatient) as connection:
        connection.sendall(head + body)
        assert b"".join(iter(lambda: connection.recv(2**16), b"")).startswith(b"HTTP/1.1 200 ")


def test_what_never_came_to_the_application_is_logged_and_counted_like_the_rest(installation, package):
    with serving(installation, package.root, SWATH_API_ACCESS_LOG="true") as service:
        with connected(service) as connection:
            connection.sendall(HEAD + b"X-Request-ID: job-7\r\nx: y\r\n: y\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(2**16), b""))
        counted = service.client.get("/metrics").text
        service.process.send_signal(signal.SIGTERM)
        log = service.end()[1]
    assert b"x-request-id: job-7" in answer
    assert 'swath_requests_total{method="other",route="unmatched",status="400"} 1.0' in counted
    line = next(json.loads(line) for line in log.splitlines() if '"job-7"' in line)
    assert (line["status"], line["route"], line["method"]) == (400, "unmatched", "other")


def test_an_upload_that_is_cut_off_is_no_fault_of_the_service(installation, package):
    with serving(installation, package.root, SWATH_API_ACCESS_LOG="true") as service:
        for _ in range(3):
            with connected(service) as connection:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n12")
        gone = 'swath_requests_total{method="POST",route="/predict",status="499"} 3.0'
        wait_for(lambda: gone in service.client.get("/metrics").text)
        service.process.send_signal(signal.SIGTERM)
        log = service.end()[1]
    assert "Traceback" not in log
    assert '"status": 499' in log


INVITED = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
INVITED += b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(IMAGE)


@pytest.mark.parametrize("at", [0, INVITED.index(b"Upgrade: "), INVITED.index(b"rade: "), INVITED.index(b": h2c")])
def test_an_invitation_to_another_protocol_is_declined_and_the_body_is_read(impatient, at):
    with connected(impatient) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(INVITED[:at])
        time.sleep(0.2 if at else 0)  # so that the rest comes by itself
        connection.sendall(INVITED[at:] + IMAGE + INVITED + IMAGE + HEAD + b"Connection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 3


def test_whoever_asks_too_fast_is_named_in_the_log(installation, package):
    limits = {"SWATH_API_RATE_PER_S": "0.001", "SWATH_API_RATE_BURST": "1", "SWATH_API_ACCESS_LOG": "true"}
    with serving(installation, package.root, **limits) as service:
        codes = [service.client.get("/scenes").status_code for _ in range(2)]
        service.process.send_signal(signal.SIGTERM)
        log = service.end()[1]
    assert codes == [200, 429]
    lines = [json.loads(line) for line in log.splitlines() if '"route": "/scenes"' in line]
    assert [line["caller"] for line in lines] == ["address:127.0.0.1"] * 2


def test_heads_one_after_the_other_each_have_their_time(impatient):
    with connected(impatient) as connection:
        for _ in range(3):
            connection.sendall(HEAD)
            time.sleep(2.1)  # three of these are longer than one head may take
            connection.sendall(b"\r\n")
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come apart
                part = connection.recv(2**16)
                assert part, answer
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/infer", "/predict", "/predict/batch"])
def test_a_body_that_does_not_end_is_refused_and_the_connection_ends(impatient, path):
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n-"
    kind = b"application/json" if path == "/infer" else b"multipart/form-data; boundary=b"
    with connected(impatient) as connection:
        connection.sendall(head % (path.encode(), kind))
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"urn:swath:problem:too-slow"' in answer


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for_for_ever(impatient):
    with connected(impatient) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % 10**9)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


LENGTH, CHUNKED = b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n"


def test_what_comes_after_an_answer_does_not_keep_the_connection_for_ever(impatient):
    afterthoughts = [(b"", b"\r\n"), (LENGTH, b"{"), (LENGTH, b"{}"), (CHUNKED, b"2\r\n{}\r\n0\r\n\r\n")]
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(impatient)) for _ in afterthoughts]
        for connection, (head, rest) in zip(connections, afterthoughts, strict=True):
            connection.sendall(HEAD + head + b"\r\n")
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 ")
            connection.sendall(rest)
        for connection in connections:
            connection.settimeout(20)  # between a head's 6 s here and the 30 s of a connection that is silent
            assert b"HTTP" not in b"".join(iter(lambda it=connection: it.recv(2**16), b""))


def test_a_stranger_is_refused_before_the_body_is_there(installation, package):
    with serving(installation, package.root, SWATH_API_AUTH="keys") as service, connected(service) as connection:
        connection.sendall(b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 401 ")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory, package):
    with serving(Installation(tmp_path_factory.mktemp("impatient")), package.root, SWATH_API_TIMEOUT_S="6") as service:
        yield service


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    url = urlsplit(service.started["url"])
    with socket.create_connection((url.hostname, url.port), timeout=LIMIT_S) as connection:
        yield connection


def test_a_service_asked_to_stop_before_it_answers_leaves_at_once(installation, package):
    process = installation.start("services.api", SWATH_API_MODEL=str(package.root), SWATH_API_PORT="0")
    wait_for(lambda: catches_sigterm(process.pid))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode in {0, 75}


def catches_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)
