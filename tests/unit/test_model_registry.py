"""What a model's name, digest, pin or folder means: the same wherever one stands, and nothing that was retired."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError, PackageError
from services.core.model.package import ModelPackage, shipped_package
from services.core.settings import Settings
from services.core.site import Site, open_site
from tests.models import make_package, network_files


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home")) as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which package folders lie."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny")


@pytest.fixture
def other(tmp_path: Path) -> ModelPackage:
    """Of the same name."""
    return make_package(tmp_path / "other", network_files() | {"card.md": b"# other\n"})


def promote(site: Site, package: ModelPackage, stage: ModelStage = ModelStage.PRODUCTION) -> None:
    site.models.keep(package)
    Stages(site.catalog).promote(package.digest, stage=stage, who="test", why="test")


def test_a_pin_means_the_same_package_after_another_was_promoted(
    site: Site, package: ModelPackage, other: ModelPackage
) -> None:
    promote(site, package)
    promote(site, other)
    assert site.models.find("tiny").digest == other.digest
    assert package.pin == f"tiny@{package.digest}"
    for pin in (package.pin, package.pin[:13], package.digest, package.digest[:8]):
        assert site.models.find(pin).digest == package.digest
    assert site.models.find(shipped_package("brightness").pin[:19]) is shipped_package("brightness")


def test_a_folder_is_never_taken_for_a_pin(site: Site, here: Path, package: ModelPackage, other: ModelPackage) -> None:
    site.models.keep(package)
    for pin in (package.pin, package.digest, package.digest[:8]):
        shutil.copytree(other.root, here / pin)
        assert site.models.find(pin).digest == package.digest
        assert site.models.find(f"./{pin}").digest == other.digest


def test_a_folder_whose_name_could_be_a_digest_is_found_where_no_digest_begins_so(
    site: Site, here: Path, package: ModelPackage
) -> None:
    shutil.copytree(package.root, here / "20260501")
    assert site.models.find("20260501").digest == package.digest


def test_a_pinned_package_that_is_not_here_is_told_by_name_and_digest(
    site: Site, here: Path, package: ModelPackage
) -> None:
    for pin in (package.pin, package.digest):
        shutil.copytree(package.root, here / pin)
        with pytest.raises(ObjectNotFoundError, match=f"no model .*{package.digest[:12]} is kept here"):
            site.models.find(pin)
    with pytest.raises(ObjectNotFoundError, match=f"no model tiny {package.digest[:12]} is kept here"):
        site.models.find(package.pin)


def test_a_pin_with_another_models_name_is_none(site: Site, package: ModelPackage) -> None:
    site.models.keep(package)
    for pin in (f"huge@{package.digest}", f"tiny@{shipped_package('brightness').digest}"):
        with pytest.raises(ObjectNotFoundError, match="no model"):
            site.models.find(pin)


def test_a_package_that_the_store_lost_is_told_by_name_and_digest(site: Site, package: ModelPackage) -> None:
    site.models.keep(package)
    shutil.rmtree(Path(site.settings.store_uri) / "models")
    with pytest.raises(ObjectNotFoundError, match=f"model tiny {package.digest[:12]} is not in"):
        site.models.by_digest(package.digest)


def test_a_shipped_model_that_was_retired_is_reached_by_its_digest_only(site: Site, here: Path) -> None:
    shipped = shipped_package("brightness")
    shutil.copytree(shipped.root, here / "brightness")
    promote(site, shipped, ModelStage.RETIRED)
    with pytest.raises(ObjectNotFoundError, match="no model brightness is in production here"):
        site.models.find("brightness")
    assert site.models.find(shipped.digest[:8]) is shipped
    assert site.models.find(shipped.pin) is shipped
    promote(site, shipped)
    assert site.models.find("brightness") is shipped


@pytest.mark.parametrize(("scribble", "thorough"), [(b"", False), (b"# tinY\n", True)])
def test_what_is_damaged_in_the_store_is_made_good_by_keeping_it_again(
    site: Site, package: ModelPackage, scribble: bytes, *, thorough: bool
) -> None:
    site.models.keep(package)
    kept = Path(site.settings.store_uri) / "models" / package.digest
    (kept / "card.md").write_bytes(scribble)
    with pytest.raises(PackageError, match="add it again"):
        site.models.by_digest(package.digest)
    site.models.keep(package, thorough=thorough)
    assert site.models.by_digest(package.digest).card == "# tiny\n"


def test_a_stranger_among_a_packages_objects_is_removed_by_adding_it_again(site: Site, package: ModelPackage) -> None:
    site.models.keep(package)
    site.store.put(f"models/{package.digest}/LICENSE", b"x")
    site.models.keep(package, thorough=True)
    assert site.models.by_digest(package.digest).files == package.files
