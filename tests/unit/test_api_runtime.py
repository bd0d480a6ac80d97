"""Which model is in service: promotions are followed, whatever went wrong with the one before."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.api import runtime as runtime_module
from services.api.metrics import Metrics
from services.api.runtime import Runtime
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError
from services.core.model.package import ModelPackage, shipped_package
from services.core.settings import Settings
from services.core.site import Site, open_site
from tests.models import make_classifier

PATIENCE_S = 60


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = Settings(home=tmp_path / "home", api_model="chance-rgb", api_poll_s=0.01, backend="onnxruntime")
    with open_site(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[ModelPackage]:
    folder = tmp_path_factory.mktemp("packages")
    return [make_classifier(folder / str(mean), mean=(mean, 90.0, 100.0)) for mean in (70.0, 80.0, 90.0)]


def promote(site: Site, package: ModelPackage, stage: ModelStage = ModelStage.PRODUCTION) -> None:
    site.models.keep(package)
    Stages(site.catalog).promote(package.digest, stage=stage, who="test", why="test")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.01)


def follow(site: Site, *steps: Callable[[Runtime], Callable[[], bool]]) -> Runtime:
    """Take each step while the runtime is looking, and wait for what it should bring about."""

    async def live() -> Runtime:
        runtime = Runtime(site, Metrics(), threads=1)
        await runtime.start()
        for step in steps:
            await until(step(runtime))
        await runtime.stop()
        return runtime

    return asyncio.run(live())


def failures(runtime: Runtime) -> float:
    return float(runtime._metrics.swap_failures._value.get())  # the counter has no other reader


def test_a_model_that_comes_back_to_the_store_is_taken_over(
    site: Site, packages: list[ModelPackage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "_FIRST_WAIT_S", 0.02)
    first, second, _ = packages
    promote(site, first)
    kept, away = Path(site.settings.store_uri) / "models" / second.digest, site.settings.home / "away"

    def lose_it(runtime: Runtime) -> Callable[[], bool]:
        site.models.keep(second)
        kept.rename(away)
        Stages(site.catalog).promote(second.digest, stage=ModelStage.PRODUCTION, who="test", why="test")
        return lambda: failures(runtime) >= 2

    def bring_it_back(runtime: Runtime) -> Callable[[], bool]:
        assert runtime.served.package.digest == first.digest
        away.rename(kept)
        return lambda: runtime.served.package.digest == second.digest

    follow(site, lose_it, bring_it_back)


def test_an_error_that_nobody_thought_of_is_counted_and_the_next_promotion_is_seen(
    site: Site, packages: list[ModelPackage], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = packages
    promote(site, first)
    load = Runtime._load

    def load_or_break(runtime: Runtime, digest: str) -> object:
        if digest == second.digest:
            raise OSError("the scratch folder is a file")
        return load(runtime, digest)

    monkeypatch.setattr(Runtime, "_load", load_or_break)

    def promote_the_breaking_one(runtime: Runtime) -> Callable[[], bool]:
        promote(site, second)
        return lambda: failures(runtime) == 1

    def promote_a_good_one(runtime: Runtime) -> Callable[[], bool]:
        promote(site, third)
        return lambda: runtime.served.package.digest == third.digest

    follow(site, promote_the_breaking_one, promote_a_good_one)


def test_a_model_that_is_retired_is_not_called_the_one_in_production_any_more(
    site: Site, packages: list[ModelPackage]
) -> None:
    first, *_ = packages
    promote(site, first)

    def retire(runtime: Runtime) -> Callable[[], bool]:
        assert runtime.served.stage == "production"
        promote(site, first, ModelStage.RETIRED)
        return lambda: runtime.served.stage == "retired"

    runtime = follow(site, retire)
    assert runtime.served.package.digest == first.digest
    classes = len(first.contract.classes)
    assert b'"stage": "retired"' in runtime.served.template.fill(0, [1 / classes] * classes, "id")


def test_a_shipped_name_goes_back_to_the_shipped_package_when_its_promoted_one_is_retired(
    site: Site, tmp_path: Path
) -> None:
    shipped = shipped_package("eurosat-rgb")
    other = make_classifier(tmp_path / "other", name="eurosat-rgb")
    promote(site, other)
    site = replace(site, settings=site.settings.model_copy(update={"api_model": "eurosat-rgb"}))

    def retire(runtime: Runtime) -> Callable[[], bool]:
        assert runtime.served.package.digest == other.digest
        promote(site, other, ModelStage.RETIRED)
        return lambda: runtime.served.package.digest == shipped.digest

    assert follow(site, retire).served.stage is None


def test_a_shipped_model_that_is_retired_goes_on_as_such_and_is_not_begun_with(site: Site) -> None:
    shipped = shipped_package("eurosat-rgb")
    site = replace(site, settings=site.settings.model_copy(update={"api_model": "eurosat-rgb"}))

    def retire(runtime: Runtime) -> Callable[[], bool]:
        assert runtime.served.stage is None
        promote(site, shipped, ModelStage.RETIRED)
        return lambda: runtime.served.stage == "retired"

    assert follow(site, retire).served.package.digest == shipped.digest
    with pytest.raises(ObjectNotFoundError, match="no model eurosat-rgb is in production here"):
        follow(site)
