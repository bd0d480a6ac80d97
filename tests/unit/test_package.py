"""Model packages: the same bytes make the same digest, and nothing else passes for it."""

import json
import math
from pathlib import Path
from typing import Any

import pystac
import pytest
from pydantic import ValidationError
from pystac import STACObjectType
from pystac.extensions.mlm import MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from services.core.errors import ObjectNotFoundError, PackageError, StorageRefusedError
from services.core.model.contract import Contract
from services.core.model.mlm import parse_item
from services.core.model.package import load_package, shipped_names, shipped_package
from services.core.model.package_save import check_free, save_package
from services.core.model.package_store import fetch_package, write_package_to_store
from services.core.testing import MemoryStore
from tests.models import make_classifier, make_contract, make_package, network_files


def edited(change: dict[str, Any]) -> dict[str, bytes]:
    """The files of a package with other properties in model.json."""
    files = network_files()
    item = json.loads(files["model.json"])
    item["properties"] |= change
    return files | {"model.json": json.dumps(item).encode()}


def test_what_was_saved_is_loaded_with_the_same_contract(tmp_path: Path) -> None:
    saved = make_package(tmp_path / "tiny")
    loaded = load_package(tmp_path / "tiny", digest=saved.digest)
    assert loaded.contract == make_contract()
    assert loaded.read("card.md") == b"# tiny\n"


def test_equal_files_have_equal_digests_wherever_they_lie(tmp_path: Path) -> None:
    assert make_package(tmp_path / "a").digest == make_package(tmp_path / "deep" / "b").digest


def test_saving_the_same_package_twice_is_harmless(tmp_path: Path) -> None:
    assert make_package(tmp_path / "tiny").digest == make_package(tmp_path / "tiny").digest


def test_another_package_is_not_overwritten(tmp_path: Path) -> None:
    first = make_package(tmp_path / "tiny")
    with pytest.raises(PackageError, match="tiny is a model package already; name another folder, or remove it"):
        make_package(tmp_path / "tiny", network_files() | {"card.md": b"# other\n"})
    assert load_package(tmp_path / "tiny").digest == first.digest


def test_an_empty_folder_becomes_the_package(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    check_free(tmp_path / "tiny")
    assert make_package(tmp_path / "tiny").root == tmp_path / "tiny"


def test_a_place_that_is_taken_is_told_before_anything_is_made_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_bytes(b"x")
    for name in ("file", "full"):
        for look in (check_free, make_package):
            with pytest.raises(PackageError, match=f"{name} is there and is no model package"):
                look(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for look in (check_free, make_package):
        with pytest.raises(StorageRefusedError, match="its folder cannot be made"):
            look(tmp_path / "file" / "tiny")


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_free(tmp_path / "deep" / "tiny")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_refused_package_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(PackageError):
        save_package(tmp_path / "tiny", network_files() | {"model.onnx": b"no graph"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "model.onnx", "model.json", "card.md"])
def test_one_changed_byte_is_not_the_pinned_package(tmp_path: Path, name: str) -> None:
    digest = make_package(tmp_path / "tiny").digest
    body = bytearray((tmp_path / "tiny" / name).read_bytes())
    body[-2] ^= 1
    (tmp_path / "tiny" / name).write_bytes(body)
    with pytest.raises(PackageError):
        load_package(tmp_path / "tiny", digest=digest)


def test_a_file_that_changes_after_the_check_is_not_read(tmp_path: Path) -> None:
    package = make_package(tmp_path / "tiny")
    (tmp_path / "tiny" / "model.onnx").write_bytes(b"something else")
    with pytest.raises(PackageError, match="changed on disk"):
        package.read("model.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"mlm:name": "another"},
        {"mlm:input": []},
        {"mlm:output": []},
        {"mlm:tasks": ["detection"]},
        {"swath:contract": {"name": "tiny"}},
        {"swath:contract": None},
        {"swath:precisions": ["int8"]},
        {"swath:network": "os.system"},
    ],
)
def test_a_model_json_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match=r"model\.json"):
        make_package(tmp_path / "tiny", edited(change))


@pytest.mark.parametrize(
    "body",
    [
        '"stac_extensions": null',
        '"stac_extensions": [7]',
        '"stac_extensions": {}',
        '"assets": []',
        '"assets": {"model": 7}',
        '"assets": {"model": {"roles": ["mlm:model"]}}',
        '"assets": {"model": {"href": "./model.onnx", "roles": null}}',
        '"note": 1e999',
        '"note": "\\ud800"',
        '"\\udfff": 1',
        '"note": ' + "[" * 80 + "]" * 80,
    ],
)
def test_a_model_json_that_no_products_item_could_repeat_is_refused(tmp_path: Path, body: str) -> None:
    files = network_files()
    whole = files["model.json"].decode().removesuffix("}") + f", {body}}}"  # of two with one name, the last counts
    with pytest.raises(PackageError, match=r"model\.json"):
        make_package(tmp_path / "tiny", files | {"model.json": whole.encode()})


def test_a_swapped_band_order_in_the_mlm_part_is_refused() -> None:
    item = json.loads(network_files()["model.json"])
    item["properties"]["mlm:input"][0]["bands"].reverse()
    with pytest.raises(PackageError, match="mlm:input"):
        parse_item(item)


def test_a_second_look_is_told_to_other_catalogs_and_is_for_classifiers(tmp_path: Path) -> None:
    package = make_classifier(tmp_path / "chance", second_look=0.8)
    assert "less than 0.8" in package.item["properties"]["mlm:output"][0]["description"]
    assert package.at_first_look.contract == make_classifier(tmp_path / "sure", second_look=None).contract
    with pytest.raises(ValidationError, match="second_look is for a classification"):
        Contract.model_validate(make_contract().model_dump() | {"second_look": 0.8})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("gsd_m", [12.0, 8.0], "gsd_m\n.*the finest comes first"),
        ("gsd_m", [-1.0, 8.0], "gsd_m\n.*both above 0 m"),
        ("gsd_m", [0.0, 0.0], "gsd_m\n.*both above 0 m"),
        ("dtypes", ["uint8", "byte"], "dtypes\n.*no raster stores 'byte'"),
        ("std", [1.0, 0.0], "std\n.* 0 is not within 1e-30"),
        ("mean", [math.nan, 1.0], "mean.0\n.*finite"),
        ("mean", [1.0, 1e300], "mean\n.*1e\\+300 is not within -1e\\+30"),
        ("std", [1e-320, 1.0], "std\n.*is not within 1e-30"),
        ("std", [1.0, 1e300], "std\n.*1e\\+300 is not within 1e-30"),
        ("bands", ["red", ""], "bands\n.*needs a name"),
        ("bands", ["red", "red"], "bands\n.*named once"),
        ("threshold", 0.5, "no other has one"),
        ("classes", [], "classes\n.*at least 1"),
    ],
)
def test_a_contract_that_no_scene_or_number_could_meet_is_refused_by_its_field(
    field: str, value: object, said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Contract.model_validate(make_contract().model_dump() | {field: value})


@pytest.mark.parametrize(
    ("names", "said"),
    [(("a", "b", "a"), "same name"), (("a", "", "c"), "in one line"), (("a", "b\nc", "d"), "in one line")],
)
def test_classes_have_names_that_tell_them_apart(names: tuple[str, ...], said: str) -> None:
    classes = [{"value": value, "name": name, "color": "#102030"} for value, name in enumerate(names)]
    with pytest.raises(ValidationError, match=said):
        Contract.model_validate(make_contract().model_dump() | {"classes": classes})


def test_a_package_comes_back_from_a_store_as_it_went_in(tmp_path: Path) -> None:
    store, package = MemoryStore(), make_package(tmp_path / "tiny")
    href = write_package_to_store(package, store)
    assert href == f"{store.uri}/models/{package.digest}"
    assert fetch_package(store, package.digest, tmp_path / "cache").files == package.files


def test_a_damaged_cache_is_fetched_anew(tmp_path: Path) -> None:
    store, package = MemoryStore(), make_package(tmp_path / "tiny")
    write_package_to_store(package, store)
    cached = fetch_package(store, package.digest, tmp_path / "cache")
    (cached.root / "card.md").write_bytes(b"# scribble\n")
    assert fetch_package(store, package.digest, tmp_path / "cache").card == package.card


def test_a_store_that_holds_other_bytes_is_not_believed(tmp_path: Path) -> None:
    store, package = MemoryStore(), make_package(tmp_path / "tiny")
    write_package_to_store(package, store)
    store.put(f"models/{package.digest}/card.md", b"# scribble\n")
    with pytest.raises(PackageError, match="changed"):
        fetch_package(store, package.digest, tmp_path / "cache")
    assert not (tmp_path / "cache" / package.digest).exists()


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc", "tiny"])
def test_a_digest_nobody_stored_is_not_found(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ObjectNotFoundError):
        fetch_package(MemoryStore(), digest, tmp_path)


@pytest.mark.parametrize("name", ["brightness", "landcover-l7"])
def test_every_shipped_package_is_a_valid_stac_item_with_a_card(name: str) -> None:
    package = shipped_package(name)
    told = MLMExtension.ext(pystac.Item.from_dict(dict(package.item)))
    JsonSchemaSTACValidator().validate_core(dict(package.item), STACObjectType.ITEM, "1.1.0")
    assert told.mlm_name == name
    assert told.input[0].bands == list(package.contract.bands)
    assert package.card.startswith(f"# {name}")
    assert package.metrics


def test_the_shipped_packages_are_these() -> None:
    assert shipped_names() == ("brightness", "eurosat-rgb", "landcover-l7")
    with pytest.raises(ObjectNotFoundError, match="brightness"):
        shipped_package("cloudless")
