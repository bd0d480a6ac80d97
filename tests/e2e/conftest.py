"""One build of each image per session, and one service to ask."""

import os
from collections.abc import Iterator

import pytest

from services.core.model.package import ModelPackage
from tests.e2e.containers import Container, Question, build_api, docker_available, make_questions, running
from tests.models import make_classifier


@pytest.fixture(scope="session")
def api_image() -> str:
    """The image's tag: `SWATH_TEST_IMAGE`, else built here; skips where there is no Docker, but never in CI."""
    if not docker_available():
        why = "no Docker engine answers here; install Docker, or start it"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return os.environ.get("SWATH_TEST_IMAGE") or build_api("swath-api:test")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A classifier of the shipped one's form, at its first look: the mean over all sides makes chance answers alike."""
    return make_classifier(tmp_path_factory.mktemp("package") / "chance-rgb", second_look=None)


@pytest.fixture(scope="session")
def questions(package: ModelPackage) -> list[Question]:
    """Images with the answers that PyTorch gives outside."""
    return make_questions(package)


@pytest.fixture(scope="session")
def service(api_image: str, package: ModelPackage) -> Iterator[Container]:
    """The service with nothing but its volume and /tmp to write to."""
    with running(api_image, package=package) as container:
        container.wait()
        yield container
