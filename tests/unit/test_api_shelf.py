"""Packages that `/infer` and `/models` name: read once, and found again when somebody removes the local copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.api.shelf import Shelf
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError
from services.core.model.package import ModelPackage, shipped_package
from services.core.settings import Settings
from services.core.site import Site, open_site
from tests.models import make_classifier


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home")) as opened:
        yield opened


@pytest.fixture
def package(tmp_path: Path, site: Site) -> ModelPackage:
    """In production here."""
    package = make_classifier(tmp_path / "m")
    site.models.keep(package)
    Stages(site.catalog).promote(package.digest, stage=ModelStage.PRODUCTION, who="test", why="test")
    return package


def test_a_package_is_read_once_by_whatever_it_is_called(site: Site, package: ModelPackage) -> None:
    shelf = Shelf(site, threads=1)
    first = shelf.package(package.digest)
    assert first.digest == package.digest
    assert shelf.package(package.contract.name) is first


def test_a_shipped_model_that_was_retired_is_found_by_its_digest_only(site: Site) -> None:
    shelf, shipped = Shelf(site, threads=1), shipped_package("brightness")
    assert shelf.package("brightness") is shipped
    site.models.keep(shipped)
    Stages(site.catalog).promote(shipped.digest, stage=ModelStage.RETIRED, who="test", why="test")
    with pytest.raises(ObjectNotFoundError, match="model 'brightness' is retired here; name a digest of GET /models"):
        shelf.package("brightness")
    assert shelf.package(shipped.digest) is shipped


def test_a_copy_that_somebody_removes_meanwhile_is_fetched_again(
    site: Site, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.models.by_digest(package.digest)
    read, gone = Path.read_bytes, []

    def read_unless_gone(path: Path) -> bytes:
        if not gone:
            gone.append(path)
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_unless_gone)
    assert site.models.by_digest(package.digest).digest == package.digest
    assert gone[0].parent.name == package.digest
