"""Files behind http:// addresses: however one is written and whatever is answered, a file or one sentence."""

import gc
import http.server
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from services.core.downloads import fetcher
from services.core.errors import (
    ObjectNotFoundError,
    RequestError,
    StorageRefusedError,
    StorageUnavailableError,
    SwathError,
)
from services.core.ingest import ingest_scene
from services.core.raster.href import shown_href
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.sidecars import remote_sidecars
from services.core.settings import Settings
from services.core.site import open_site
from services.core.testing import MemoryStore
from tests.http_server import answering
from tests.rasters import ramp, write_raster

SECRET = "hush-hush"

#: What is sent for a path, to the last byte.
RAW = {
    "/no-http": b"GARBAGE\r\nNO HTTP\r\n\r\n",
    "/broken-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nII*\0x\r\nzz\r\n",
    "/no-length": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nII*\0",
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nII*\0",
    "/to-nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[bad/x\r\nContent-Length: 0\r\n\r\n",
    "/to-no-port": b"HTTP/1.1 302 Found\r\nLocation: http://u:p@h:abc/x\r\nContent-Length: 0\r\n\r\n",
}


class Folder(http.server.SimpleHTTPRequestHandler):
    """A folder's files, raw answers, a way on to what follows /to?, and any status asked for, such as /429.

    Below /beside-403/, that is the answer for all that is no .tif.
    """

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", query)
            self.end_headers()
        elif path in RAW:
            self.wfile.write(RAW[path])
        elif path[1:].isdigit():
            self.send_error(int(path[1:]))
        elif (found := re.match(r"/beside-(\d+)/", path)) and not path.endswith(".tif"):
            self.send_error(int(found[1]))  # with a page, 200 too
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        return f"{self.server.folder}/{unquote(Path(path.partition('?')[0]).name)}"  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a folder that holds `a b.tif`, `ü.tif` and a hundred a's `.tif`."""
    folder = tmp_path_factory.mktemp("www")
    for name in ("a b.tif", "ü.tif", f"{'a' * 100}.tif"):
        write_raster(folder / "x.tif", ramp((8, 9))).rename(folder / name)
    with answering(Folder, folder=folder) as address:
        yield address


@pytest.fixture
def fetch(settings: Settings) -> Callable[[str], Path]:
    return fetcher(settings)


def refusal(fetch: Callable[[str], Path], url: str) -> SwathError:
    with pytest.raises(SwathError) as refused:
        fetch(url)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_server_that_asks_for_patience_is_asked_again_later(
    served: str, fetch: Callable[[str], Path], status: int
) -> None:
    refused = refusal(fetch, f"{served}/{status}")
    assert (refused.exit_code, str(refused)) == (75, f"{served}/{status} answered {status}; try again later")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_address_that_is_refused_is_to_be_checked(served: str, fetch: Callable[[str], Path], status: int) -> None:
    refused = refusal(fetch, f"{served}/{status}?X-Amz-Signature={SECRET}")
    assert (type(refused), str(refused)) == (
        ObjectNotFoundError,
        f"{served}/{status} answered {status}; check the address",
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib drops an answer that leads nowhere without closing it
@pytest.mark.parametrize("path", RAW)
def test_an_answer_that_is_no_http_or_not_all_of_it_is_worth_another_try(
    served: str, fetch: Callable[[str], Path], path: str, tmp_path: Path
) -> None:
    assert isinstance(refusal(fetch, f"{served}{path}?sig={SECRET}"), StorageUnavailableError)
    gc.collect()
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_redirect_leads_to_http_or_nowhere(served: str, fetch: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ftp:
        ftp.settimeout(0)
        to = f"ftp://127.0.0.1:{ftp.getsockname()[1]}/x.tif"
        refused = refusal(fetch, f"{served}/to?{to}")
        with pytest.raises(BlockingIOError):
            ftp.accept()
    assert isinstance(refused, ObjectNotFoundError)
    assert open_scene([f"{served}/to?{served}/ü.tif"], fetch=fetch).shape == (8, 9)


@pytest.mark.parametrize("written", ["a b.tif", "a%20b.tif", "ü.tif", "%C3%BC.tif", "a b.tif?x=ü y#z"])
def test_an_address_may_be_written_with_percent_signs_or_without(
    served: str, fetch: Callable[[str], Path], written: str
) -> None:
    assert open_scene([f"{served}/{written}"], fetch=fetch).shape == (8, 9)


@pytest.mark.parametrize(
    "url",
    [
        f"http://[bad/x.tif?sig={SECRET}",
        f"http://u:{SECRET}@[bad/x.tif",
        f"http://u:{SECRET}@h/x.tif",
        "http://h:abc/x.tif",
        "http://h:99999/x.tif",
        "http://h:0/x.tif",
        "http://h h/x.tif",
        "http://a..b/x.tif",
        f"http://{'ü' * 70}/x.tif",
        "http://",
        "http:///x.tif",
        "http://h/a\nb.tif",
        "http://h/\0.tif",
        "http://h/\udcff.tif",
        "s3://bucket/\udcff.tif",
        f"ftp://u:{SECRET}@h/x.tif",
    ],
)
def test_what_is_no_address_is_refused_before_anybody_is_asked(fetch: Callable[[str], Path], url: str) -> None:
    assert isinstance(refusal(fetch, url), RequestError)


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://u:p@h/x.tif?sig=1#2", "https://h/x.tif"),
        ("http://u:p@[bad/x.tif?sig=1", "http://[bad/x.tif"),
        ("http://[bad#@/x.tif", "http://[bad"),
        ("/data/what?.tif", "/data/what?.tif"),
        ("/data/a\nb\udcff.tif", r"'/data/a\nb\udcff.tif'"),
    ],
)
def test_a_sentence_names_a_place_on_one_line_and_not_what_opens_it(href: str, shown: str) -> None:
    assert shown_href(href) == shown


def test_a_refusal_keeps_no_secret(settings: Settings, served: str) -> None:
    with open_site(settings) as site:
        for url in (f"{served}/404?X-Amz-Signature={SECRET}", f"http://u:{SECRET}@[bad/x.tif"):
            with pytest.raises(SwathError):
                ingest_scene(site, [url], OpenOptions())
        kept = {(refusal.source, refusal.reason.split()[0]) for refusal in site.catalog.refusals()}
    assert kept == {(f"{served}/404",) * 2, ("http://[bad/x.tif",) * 2}


def test_a_signed_scene_is_shown_without_its_signature_and_can_still_be_fetched(
    settings: Settings, served: str, tmp_path: Path
) -> None:
    url = f"{served}/a b.tif?X-Amz-Signature={SECRET}"
    with open_site(settings) as site:
        scene = ingest_scene(site, [url], OpenOptions())
    assert (scene.source, scene.assets[0].href) == (f"{served}/a b.tif", url)
    with sqlite3.connect(tmp_path / "home" / "swath.db") as database:
        assert database.execute("SELECT source FROM scenes").fetchall() == [(scene.source,)]
    database.close()


def test_what_is_wrong_with_a_signed_file_is_said_without_its_signature(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((8, 9)), crs=None)
    with pytest.raises(SwathError, match=r"https://h/a\.tif has no coordinate reference system") as refused:
        open_scene([f"https://h/a.tif?sig={SECRET}"], fetch=lambda _: path)
    assert SECRET not in str(refused.value)
    with pytest.raises(SwathError, match=r"https://h/a\.tif is remote"):
        open_scene([f"https://h/a.tif?sig={SECRET}"])


def test_a_disk_that_takes_no_copy_is_not_the_networks_fault(
    served: str, fetch: Callable[[str], Path], settings: Settings
) -> None:
    url = f"{served}/a b.tif"
    folder = fetch(url).parent
    shutil.rmtree(folder)
    folder.write_bytes(b"in the way")
    refused = refusal(fetch, url)
    assert isinstance(refused, StorageRefusedError)
    assert str(folder) in str(refused)


def test_an_address_longer_than_a_files_name_may_be_is_fetched_all_the_same(
    served: str, fetch: Callable[[str], Path]
) -> None:
    assert fetch(f"{served}/{'%61' * 100}.tif").suffix == ".tif"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
def test_what_is_refused_beside_a_scene_or_is_a_page_is_not_there(
    served: str, fetch: Callable[[str], Path], status: int
) -> None:
    scene = open_scene([f"{served}/beside-{status}/a b.tif"], fetch=fetch)
    assert scene.digest == open_scene([f"{served}/a b.tif"], fetch=fetch).digest
    assert [path.name for path in fetch(f"{served}/beside-{status}/a b.tif").parent.iterdir()] == ["a b.tif"]


def test_what_lies_beside_a_scene_and_cannot_be_had_now_is_waited_for(
    served: str, fetch: Callable[[str], Path]
) -> None:
    refused = refusal(fetch, f"{served}/beside-503/a b.tif?sig={SECRET}")
    assert (refused.exit_code, f"{served}/beside-503/a b.tif.msk answered 503" in str(refused)) == (75, True)


def test_s3_that_may_not_be_listed_says_no_more_than_that_there_is_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlisted(MemoryStore):
        def fetch(self, key: str, path: Path) -> None:
            asked.append(key)
            if key not in self.list(""):
                raise StorageRefusedError(f"{key}: access denied")
            super().fetch(key, path)

    asked: list[str] = []
    store = Unlisted()
    store.put_file("to/a.tif", write_raster(tmp_path / "a.tif", ramp((8, 9))))
    monkeypatch.setattr("services.core.downloads.open_store", lambda *_: store)
    fetch = fetcher(settings)
    assert open_scene(["s3://bucket/to/a.tif"], fetch=fetch).assets[0].sidecars == ()
    assert asked == ["to/a.tif", "to/a.tif.msk", "to/a.tif.aux.xml", "to/a.tfw"]
    with pytest.raises(StorageRefusedError):
        fetch("s3://bucket/to/b.tif")


@pytest.mark.parametrize(
    ("href", "beside"),
    [
        ("https://h/a%20b.tiff?x=1.tif", "https://h/a%20b.tiff.msk?x=1.tif https://h/a%20b.tfw?x=1.tif"),
        ("https://h/v1.0/B4.TIF#x", "https://h/v1.0/B4.TIF.msk#x https://h/v1.0/B4.TFW#x"),
        ("s3://b/what?.jp2", "s3://b/what?.jp2.msk s3://b/what?.j2w"),
        ("https://h/v1.0/get?file=a.tif", ""),
    ],
)
def test_what_lies_beside_a_remote_scene_has_an_address_like_it(href: str, beside: str) -> None:
    found = [address for address, place in remote_sidecars(href, Path("/cache/a.tif")) if "aux" not in place.name]
    assert found == beside.split()
