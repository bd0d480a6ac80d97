"""The catalog's routes, on SQLite and PostgreSQL: pages, what they show, and what they keep to themselves."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from services.api.app import create_app
from services.core.catalog.entries import ModelStage
from services.core.catalog.keys import Keys
from services.core.catalog.stages import Stages
from services.core.records import RunState
from services.core.settings import Settings
from services.core.site import Site, open_site
from tests import catalogs
from tests.asgi import call
from tests.identity import AUDIENCE, run_identity
from tests.models import make_classifier

pytest_plugins = ["tests.postgres"]
RUN_ID = "r-20260102T030405-a1b2c3"


@pytest.fixture
def site(tmp_path: Path, catalog_url: str) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home", database_url=catalog_url)) as opened:
        yield opened


@pytest.fixture
def app(site: Site) -> FastAPI:
    return create_app(site)


def add_run(site: Site, run_id: str = RUN_ID, **changes: object) -> None:
    catalogs.seeded(site.catalog)
    site.ledger.create_run(catalogs.run(run_id, **changes), catalogs.plan(2))


def all_pages(app: FastAPI, path: str, noun: str, limit: int) -> list[list[str]]:
    """Ids page by page, following the Link header alone."""
    pages, target = [], f"{path}?limit={limit}"
    while target:
        answer = call(app, "GET", target)
        assert answer.status_code == 200, answer.text
        pages.append([entry["id"] for entry in answer.json()[noun]])
        target = answer.links["next"]["url"] if "next" in answer.links else ""
    return pages


def test_a_slash_too_many_is_an_address_of_nothing_and_leads_nowhere_else(app):
    answer = call(app, "GET", "/scenes/", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "location" not in answer.headers


def test_scenes_come_in_pages_newest_first(site, app):
    for number in range(7):
        site.catalog.add_scene(catalogs.scene(number))
    pages = all_pages(app, "/scenes", "scenes", 3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert list(chain(*pages)) == [f"scene-{number:04d}" for number in reversed(range(7))]


def test_a_bug_is_answered_under_the_requests_id_and_logged_once(app):
    @app.get("/bug")
    def fail() -> None:
        raise ZeroDivisionError("secret")

    with capture_logs() as lines:
        answer = call(app, "GET", "/bug", headers={"X-Request-ID": "job-7"})
    assert (answer.status_code, answer.headers["X-Request-ID"], answer.json()["request_id"]) == (500, "job-7", "job-7")
    assert "secret" not in answer.text
    assert [line["request_id"] for line in lines if line["log_level"] == "error"] == ["job-7"]


def test_an_exact_page_has_no_next(site, app):
    for number in range(3):
        site.catalog.add_scene(catalogs.scene(number))
    assert [len(page) for page in all_pages(app, "/scenes", "scenes", 3)] == [3]


def test_what_is_added_meanwhile_shifts_nothing(site, app):
    for number in range(4):
        site.catalog.add_scene(catalogs.scene(number))
    first = call(app, "GET", "/scenes?limit=2").json()
    site.catalog.add_scene(catalogs.scene(9))
    second = call(app, "GET", f"/scenes?limit=2&cursor={first['next']}").json()
    assert [scene["id"] for scene in second["scenes"]] == ["scene-0001", "scene-0000"]


@pytest.mark.parametrize("path", ["/scenes", "/runs", "/models"])
@pytest.mark.parametrize("query", ["cursor=abc", "cursor=c2NlbmVzOm5v", "cursor=", "limit=0", "limit=201", "limit=x"])
def test_a_page_that_makes_no_sense_is_refused(app, path, query):
    answer = call(app, "GET", f"{path}?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_an_id_of_another_form_is_refused_in_words(app):
    answer = call(app, "GET", "/runs/r-2026")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("path.run_id: it does not look like one; copy it whole")


def test_filters_stay_on_the_way_to_the_next_page(site, app):
    for number in range(5):
        add_run(site, f"r-2026010{number}T000000-a1b2c3")
    site.ledger.set_state("r-20260101T000000-a1b2c3", RunState.FAILED, error="no")
    pages = all_pages(app, "/runs", "runs", 2)
    answer = call(app, "GET", "/runs?state=planned&limit=2&scene_id=scene-0000")
    assert sum(map(len, pages)) == 5
    assert "state=planned" in answer.links["next"]["url"]
    assert "scene_id=scene-0000" in answer.links["next"]["url"]


def test_a_scene_tells_its_bands_and_not_where_it_lies(site, app):
    site.catalog.add_scene(catalogs.scene())
    answer = call(app, "GET", "/scenes/scene-0000")
    assert answer.json()["bands"] == [{"name": "red", "alias": None, "dtype": "float32"}]
    assert "/scenes/0.tif" not in answer.text


@pytest.mark.parametrize("path", ["/scenes/scene-00", "/scenes/nosuch", f"/runs/{RUN_ID}", "/models/nosuch"])
def test_what_is_not_there_is_404_in_a_sentence(site, app, path):
    site.catalog.add_scene(catalogs.scene())
    answer = call(app, "GET", path)
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("no ")


@pytest.mark.parametrize("digits", [7, 8, 12, 63])
def test_the_beginning_of_a_digest_is_no_model(site, app, tmp_path, digits):
    package = make_classifier(tmp_path / "chance-rgb")
    site.models.keep(package)
    beginning = package.digest[:digits]
    answer = call(app, "GET", f"/models/{beginning}")
    assert (answer.status_code, answer.json()["detail"]) == (404, f"no model '{beginning}' here; see GET /models")


@pytest.mark.parametrize(
    "path", ["/scenes/..%2f..%2fetc", "/scenes/%00", "/runs/r-1", "/models/%2e%2e", "/runs/%2e%2e"]
)
def test_an_id_is_never_a_path(app, path):
    assert call(app, "GET", path).status_code in {404, 422}


def test_a_run_tells_how_far_it_is(site, app):
    add_run(site)
    answer = call(app, "GET", f"/runs/{RUN_ID}").json()
    assert (answer["state"], answer["progress"]["tiles_planned"], answer["product"]) == ("planned", 8, None)
    site.catalog.add_product(catalogs.product(RUN_ID))
    assert call(app, "GET", f"/runs/{RUN_ID}").json()["product"]["files"] == {
        "map.tif": "c" * 64,
        "item.json": "d" * 64,
    }


def test_models_are_the_shipped_ones_and_then_the_sites_own(site, app, tmp_path):
    package = make_classifier(tmp_path / "chance-rgb")
    site.models.keep(package)
    Stages(site.catalog).promote(package.digest, stage=ModelStage.PRODUCTION, who="test", why="a test")
    found, target = [], "/models?limit=1"
    while target:
        answer = call(app, "GET", target)
        found += answer.json()["models"]
        target = answer.links["next"]["url"] if "next" in answer.links else ""
    assert [model["source"] for model in found] == ["shipped"] * (len(found) - 1) + ["catalog"]
    assert (found[-1]["digest"], found[-1]["stage"]) == (package.digest, "production")


def test_a_model_brings_its_card_and_its_history(site, app, tmp_path):
    package = make_classifier(tmp_path / "chance-rgb")
    site.models.keep(package)
    Stages(site.catalog).promote(package.digest, stage=ModelStage.PRODUCTION, who="test", why="a test")
    by_name, by_digest = (call(app, "GET", f"/models/{name}").json() for name in ("chance-rgb", package.digest))
    assert by_name == by_digest
    assert by_name["card"] == "# chance-rgb\n"
    assert [(step["stage"], step["why"]) for step in by_name["stages"]] == [("production", "a test")]


def test_without_a_key_nothing_is_told(site):
    settings = site.settings.model_copy(update={"api_auth": "keys"})
    app = create_app(Site(settings, site.store, site.catalog, site.ledger))
    paths = ["/scenes", "/scenes/x", "/runs", f"/runs/{RUN_ID}", f"/runs/{RUN_ID}/lineage?lon=0&lat=0", "/models"]
    refused = [call(app, "GET", path) for path in paths]
    _, key = Keys(site.catalog).create("test")
    assert {answer.status_code for answer in refused} == {401}
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in refused)
    assert call(app, "GET", "/scenes", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_tokens_of_a_provider_open_the_service(site):
    with run_identity() as identity:
        identity.publish("one")
        wanted = {"issuer": identity.issuer, "audience": AUDIENCE, "scope": "swath.read"}
        changes = {f"api_oidc_{name}": value for name, value in wanted.items()}
        settings = site.settings.model_copy(update={"api_auth": "oidc", **changes})
        app = create_app(Site(settings, site.store, site.catalog, site.ledger))
        claims = ({"scope": "swath.read"}, {"scope": "other"}, {"aud": "another"})
        tokens = [identity.token(**changed) for changed in claims]
        answers = [call(app, "GET", "/scenes", headers={"Authorization": f"Bearer {token}"}) for token in tokens]
    assert [answer.status_code for answer in answers] == [200, 403, 401]


def test_a_caller_that_asks_too_fast_is_told_when_to_come_back(site):
    settings = site.settings.model_copy(update={"api_rate_per_s": 0.001, "api_rate_burst": 2})
    app = create_app(Site(settings, site.store, site.catalog, site.ledger))
    answers = [call(app, "GET", "/scenes") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 990 <= int(answers[-1].headers["retry-after"]) <= 1000


def test_the_page_and_its_files_need_no_key_and_load_nothing_from_elsewhere(site):
    settings = site.settings.model_copy(update={"api_auth": "keys"})
    app = create_app(Site(settings, site.store, site.catalog, site.ledger))
    page = call(app, "GET", "/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("<!doctype", "")
    assert call(app, "GET", "/page/page.js").status_code == 200
    assert call(app, "GET", "/page/../app.py").status_code == 404
