"""Stages of models on both databases: one production per name whoever promotes when, and a history that only grows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.catalog.tables import model_stages
from services.core.errors import ConflictError, ObjectNotFoundError, RequestError
from tests import catalogs

pytest_plugins = ["tests.postgres"]

CANDIDATE, PRODUCTION, RETIRED = ModelStage.CANDIDATE, ModelStage.PRODUCTION, ModelStage.RETIRED
DIGESTS = [letter * 64 for letter in "abcdef"]
TOLD = {"who": "ada@desk", "why": "it is better"}


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with open_catalog(catalog_url) as opened:
        for number, digest in enumerate(DIGESTS):
            opened.add_model(catalogs.model(digest, created_at=catalogs.WHEN + timedelta(seconds=number)))
        yield opened


def test_a_registered_package_has_no_stage_until_it_is_added(catalog: Catalog) -> None:
    stages = Stages(catalog)

    assert stages.stage("a" * 64) is None
    stages.add_candidate("a" * 64, **TOLD)
    assert stages.stage("a" * 64) == CANDIDATE
    assert stages.production("mean-intensity") is None


def test_promoting_a_second_package_retires_the_first_and_says_why(catalog: Catalog) -> None:
    stages = Stages(catalog)
    stages.promote("a" * 64, stage=PRODUCTION, **TOLD)

    steps = stages.promote("b" * 64, stage=PRODUCTION, **TOLD)

    assert [(step.digest[0], step.stage, step.step) for step in steps] == [("a", RETIRED, 2), ("b", PRODUCTION, 3)]
    assert "bbbbbbbbbbbb took its place" in steps[0].why
    assert stages.production("mean-intensity") == catalog.model("b" * 64)
    assert stages.stages(DIGESTS) == {"a" * 64: RETIRED, "b" * 64: PRODUCTION}


def test_retiring_what_is_in_production_leaves_nothing_in_production(catalog: Catalog) -> None:
    stages = Stages(catalog)
    stages.promote("a" * 64, stage=PRODUCTION, **TOLD)
    stages.promote("b" * 64, stage=PRODUCTION, **TOLD)

    stages.promote("b" * 64, stage=RETIRED, **TOLD)

    assert stages.production("mean-intensity") is None


def test_a_retired_package_can_come_back(catalog: Catalog) -> None:
    stages = Stages(catalog)
    for digest in ("a" * 64, "b" * 64, "a" * 64):
        stages.promote(digest, stage=PRODUCTION, **TOLD)

    found = stages.production("mean-intensity")

    assert found is not None
    assert found.digest == "a" * 64
    assert stages.stage("b" * 64) == RETIRED


def test_the_same_step_again_is_no_step(catalog: Catalog) -> None:
    stages = Stages(catalog)
    stages.promote("a" * 64, stage=PRODUCTION, **TOLD)

    assert stages.promote("a" * 64, stage=PRODUCTION, **TOLD) == []
    assert stages.add_candidate("a" * 64, **TOLD) == []
    assert len(stages.stage_history("mean-intensity")) == 1


def test_names_do_not_share_their_production(catalog: Catalog) -> None:
    catalog.add_model(catalogs.model("9" * 64, name="other"))
    stages = Stages(catalog)
    stages.promote("a" * 64, stage=PRODUCTION, **TOLD)
    stages.promote("9" * 64, stage=PRODUCTION, **TOLD)

    assert stages.stages(["a" * 64, "9" * 64]) == {"a" * 64: PRODUCTION, "9" * 64: PRODUCTION}
    assert [step.step for step in stages.stage_history("other")] == [1]


def test_many_promoters_at_once_leave_one_production_and_a_history_without_gaps(
    catalog: Catalog, catalog_url: str
) -> None:
    together = Barrier(len(DIGESTS))

    def promote(digest: str) -> None:
        with open_catalog(catalog_url) as mine:
            together.wait(300)
            for stage in (PRODUCTION, CANDIDATE, PRODUCTION):
                Stages(mine).promote(digest, stage=stage, **TOLD)

    with ThreadPoolExecutor(len(DIGESTS)) as pool:
        list(pool.map(promote, DIGESTS))

    stages = Stages(catalog)
    history = stages.stage_history("mean-intensity")
    assert list(stages.stages(DIGESTS).values()).count(PRODUCTION) == 1
    assert [step.step for step in history] == list(range(1, len(history) + 1))


def test_the_table_itself_refuses_two_successors_of_one_step(catalog: Catalog) -> None:
    (first,) = Stages(catalog).promote("a" * 64, stage=PRODUCTION, **TOLD)
    rival = first.model_copy(update={"digest": "b" * 64}).model_dump()

    with pytest.raises(IntegrityError):
        catalog.database.write(lambda conn: conn.execute(insert(model_stages).values(rival)))


def test_a_comparison_with_what_is_no_longer_in_production_does_not_count(catalog: Catalog) -> None:
    stages = Stages(catalog)
    stages.promote("a" * 64, stage=PRODUCTION, **TOLD, after=0)

    with pytest.raises(ConflictError, match="promote again"):
        stages.promote("b" * 64, stage=PRODUCTION, **TOLD, after=0)
    assert stages.stage("b" * 64) is None


@pytest.mark.parametrize("told", [{"who": " ", "why": "x"}, {"who": "x", "why": "\n"}, {"who": "x", "why": "y" * 2001}])
def test_a_step_without_who_or_why_is_refused(catalog: Catalog, told: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="needs who and why"):
        Stages(catalog).promote("a" * 64, stage=PRODUCTION, **told)


def test_a_package_nobody_registered_cannot_be_promoted(catalog: Catalog) -> None:
    with pytest.raises(ObjectNotFoundError, match="no model"):
        Stages(catalog).promote("0" * 64, stage=PRODUCTION, **TOLD)
