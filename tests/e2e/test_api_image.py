"""The API's image, run as a strict cluster would run it and asked from outside."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rasterio

from services.core.model.package import shipped_names, shipped_package
from tests.e2e.containers import QUARTER, ContainerError, docker, inspect_image, make_questions, running

pytestmark = pytest.mark.docker

MOST_MB, MOST_RESIDENT_MB = 400, 300
SBOM = "/usr/share/sbom/swath-api.cdx.json"
VERSIONS = (
    "import json; from importlib.metadata import distributions; "
    "print(json.dumps({d.metadata['Name']: d.version for d in distributions()}))"
)


def test_it_answers_as_the_network_does_outside(service, questions):
    assert [question.is_answered_by(service.predict(question.body)) for question in questions] == [
        True for _ in questions
    ]


def test_another_answer_would_be_noticed(service, questions):
    assert not questions[1].is_answered_by(service.predict(questions[0].body))


def test_the_model_it_ships_answers_without_any_setting(api_image):
    if "eurosat-rgb" not in shipped_names():
        pytest.skip("eurosat-rgb is not shipped yet: services/core/model/packages lacks it")
    with running(api_image) as container:
        for question in make_questions(shipped_package("eurosat-rgb"), library="onnxruntime", count=3):
            assert question.is_answered_by(container.first_answer(question.body))


def test_a_geotiff_is_read_by_the_gdal_inside(service, questions):
    pixels = questions[0].pixels
    height, width = pixels.shape[:2]
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 49e5)}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, **place) as target:
            target.write(pixels.transpose(2, 0, 1))
        body = memory.read()
    assert questions[0].is_answered_by(service.predict(body, "image/tiff"))


def test_a_quarter_of_a_cpu_and_512_mb_answer_everybody_rightly(api_image, package, questions):
    asked = questions * 16
    with running(api_image, *QUARTER, package=package) as container, ThreadPoolExecutor(16) as clients:
        container.wait()
        answers = clients.map(lambda question: container.predict(question.body), asked)
        assert [question.is_answered_by(answer) for question, answer in zip(asked, answers, strict=True)] == [
            True for _ in asked
        ]
        assert resident_mb(container) <= MOST_RESIDENT_MB


def resident_mb(container):
    return int(container.status()["VmHWM"].split()[0]) * 1024 / 1e6


def test_image_and_memory_stay_within_their_limits(api_image, service, questions):
    service.predict(questions[0].body)
    assert inspect_image(api_image)["Size"] / 1e6 <= MOST_MB
    assert resident_mb(service) <= MOST_RESIDENT_MB


def test_it_is_nobody_and_can_write_to_its_home_only(api_image, service):
    status = service.status()
    assert inspect_image(api_image)["Config"]["User"] == "65532:65532"
    assert set(status["Uid"].split()) == {"65532"}
    assert int(status["CapEff"], 16) == 0
    service.run("touch", "/var/lib/swath/mine", "/tmp/mine")
    for path in ("/mine", "/opt/swath/mine", "/usr/mine"):
        with pytest.raises(ContainerError, match="Read-only file system"):
            service.run("touch", path)


@pytest.mark.parametrize("module", ["torch", "openvino", "pip", "setuptools", "pyarrow", "pytest", "tests"])
def test_what_no_service_needs_is_not_there(service, module):
    with pytest.raises(ContainerError, match=f"No module named '{module}'"):
        service.run("python", "-c", f"import {module}")


def test_no_program_inside_gives_a_user_more_rights(api_image):
    words = ("find", "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert docker("run", "--rm", "--user", "0", api_image, *words) == ""


def test_the_commands_and_drivers_a_site_may_ask_for_are_there(service):
    service.run("python", "-c", "import boto3; [boto3.client(n, region_name='x') for n in ('s3', 'sts')]")
    service.run("python", "-c", "import psycopg, alembic.command; assert psycopg.pq.__impl__ == 'binary'")
    assert "brightness" in service.run("swath", "models")


def test_a_key_made_inside_opens_it_and_without_one_it_is_shut(api_image, package, questions):
    with running(api_image, package=package, settings={}) as container:
        container.wait()
        assert container.predict(questions[0].body).status_code == 401
        key = json.loads(container.run("swath", "keys", "create", "me", "--json"))["key"]
        answer = container.predict(questions[0].body, **{"X-API-Key": key})
        assert questions[0].is_answered_by(answer)


def test_a_volume_brings_the_keys_to_the_next_container(api_image, package, questions):
    volume = docker("volume", "create")
    home = ("-v", f"{volume}:/var/lib/swath")
    try:
        words = ("run", "--rm", *home, api_image, "swath", "keys", "create", "me", "--json")
        key = json.loads(docker(*words))["key"]
        with running(api_image, *home, package=package, settings={}) as container:
            container.wait()
            assert container.predict(questions[0].body, **{"X-API-Key": key}).status_code == 200
    finally:
        docker("volume", "rm", "-f", volume)


def test_sigterm_ends_it_with_zero_and_a_last_line(api_image, package):
    with running(api_image, package=package) as container:
        container.wait()
        docker("stop", "-t", "60", container.id)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container.id) == "0"


def test_its_health_check_says_alive_and_notices_when_not(api_image, service):
    check = inspect_image(api_image)["Config"]["Healthcheck"]["Test"][1:]
    service.run(*check)
    with pytest.raises(ContainerError):
        docker("exec", "-e", "SWATH_API_PORT=1", service.id, *check)


def test_the_sbom_names_every_package_inside_at_its_version(service):
    document = json.loads(service.run("cat", SBOM))
    assert document["bomFormat"] == "CycloneDX"
    listed = {part["name"]: part["version"] for part in document["components"]}
    listed |= {document["metadata"]["component"]["name"]: document["metadata"]["component"]["version"]}
    installed = json.loads(service.run("python", "-c", VERSIONS))
    assert installed.items() <= listed.items()
    assert {"onnxruntime", "cpython", "libssl3"} <= listed.keys()
    assert "torch" not in listed


def test_labels_say_what_it_is_and_where_from(api_image):
    labels = inspect_image(api_image)["Config"]["Labels"]
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert told["licenses"] == "Apache-2.0"
    assert told["version"] in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert len(told["revision"]) >= 40
    assert "source" in told


def test_the_version_that_runs_record_names_the_revision(api_image, service):
    revision = inspect_image(api_image)["Config"]["Labels"]["org.opencontainers.image.revision"]
    version = service.run("python", "-c", "from services.core.version import code_version; print(code_version())")
    assert f"+g{revision[:12]}" in version


def test_the_documents_and_the_page_are_inside(service):
    assert all("<html" in service.client.get(path).text for path in ("/", "/docs"))
