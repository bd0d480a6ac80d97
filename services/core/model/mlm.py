"""model.json: the contract told as a STAC 1.1 Item with the Machine Learning Model extension.

Other catalogs read the `mlm:` fields, Swath enforces `swath:contract`; a package in which the two differ is refused.

Source: https://github.com/stac-extensions/mlm, version 1.4.0 of its schema.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from services.core.errors import PackageError
from services.core.model.contract import Contract, Rendering
from services.core.records import Record

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
CLASSIFICATION_SCHEMA = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

_TASKS = {"threshold": "classification", "segmentation": "semantic-segmentation", "classification": "classification"}
_TILE = ("batch", "class")
_RASTER = ("batch", "class", "height", "width")


class ModelFacts(Record):
    """What a catalog wants to know and the engine does not ask."""

    description: str
    architecture: str
    framework_version: str = "0.0.0"
    total_parameters: int = 0
    #: Where the training data lies, WGS84 (west, south, east, north); None: it was trained on no place.
    bbox: tuple[float, float, float, float] | None = None
    interval: tuple[str, str] = ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")  #: of the training data, UTC
    network: dict[str, Any] = Field(default_factory=dict)  #: name and arguments of its page in networks/
    precisions: tuple[str, ...] = ("fp32",)
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    license: str = "Apache-2.0"


def build_item(contract: Contract, facts: ModelFacts) -> dict[str, Any]:
    """The Item of a package."""
    start, end = facts.interval
    properties: dict[str, Any] = {
        "description": facts.description,
        "datetime": None,
        "start_datetime": start,
        "end_datetime": end,
        "license": facts.license,
        "mlm:name": contract.name,
        "mlm:architecture": facts.architecture,
        "mlm:tasks": [_TASKS[contract.kind]],
        "mlm:framework": "Swath" if contract.kind == "threshold" else "PyTorch",
        "mlm:framework_version": facts.framework_version,
        "mlm:total_parameters": facts.total_parameters,
        "mlm:pretrained": False,
        "mlm:pretrained_source": None,
        "mlm:input": [_input(contract)],
        "mlm:output": [_output(contract)],
        "swath:contract": contract.model_dump(mode="json"),
        "swath:precisions": list(facts.precisions),
    }
    if contract.bands:  # MLM resolves mlm:input here; STAC allows it because the model's asset lists them too
        properties["bands"] = _bands(contract)
    if facts.hyperparameters:
        properties["mlm:hyperparameters"] = facts.hyperparameters
    if facts.network:
        properties["swath:network"] = facts.network
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM_SCHEMA, CLASSIFICATION_SCHEMA],
        "id": contract.name,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": _assets(contract),
    }
    if facts.bbox is not None:
        west, south, east, north = facts.bbox
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item |= {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": list(facts.bbox)}
    return item


def parse_item(item: Mapping[str, Any]) -> Contract:
    """The contract of a model.json, if the rest of it says the same.

    Raises:
        PackageError: Not an MLM item, no valid contract in it, or the two disagree.
    """
    properties = item.get("properties")
    if item.get("type") != "Feature" or not isinstance(properties, dict):
        raise PackageError("model.json is not a STAC Item")
    try:
        contract = Contract.model_validate(properties.get("swath:contract"))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(["swath:contract", *(str(part) for part in first["loc"])])
        raise PackageError(f"model.json is not usable: {where}: {first['msg']}") from exc
    told = {
        "id": (item.get("id"), contract.name),
        "mlm:name": (properties.get("mlm:name"), contract.name),
        "mlm:tasks": (properties.get("mlm:tasks"), [_TASKS[contract.kind]]),
        "mlm:input": (properties.get("mlm:input"), [_input(contract)]),
        "mlm:output": (properties.get("mlm:output"), [_output(contract)]),
    }
    for name, (said, expected) in told.items():
        if said != expected:
            raise PackageError(f"model.json disagrees with itself: {name} is not what swath:contract says")
    precisions = properties.get("swath:precisions", ["fp32"])
    if not isinstance(precisions, list) or not {"fp32"} <= set(map(str, precisions)) <= {"fp32", "bf16", "int8"}:
        raise PackageError("model.json: swath:precisions must list fp32, and may list bf16 and int8")
    if not isinstance(properties.get("swath:network", {}), dict):
        raise PackageError("model.json: swath:network must be an object with name and arguments")
    _check_repeated(item)
    return contract


def _check_repeated(item: Mapping[str, Any]) -> None:
    """The part that the item of every product repeats: hours of a run must not end in a file that cannot be written."""
    extensions, assets = item.get("stac_extensions"), item.get("assets")
    if not isinstance(extensions, list) or not all(isinstance(url, str) for url in extensions):
        raise PackageError("model.json: stac_extensions must be a list of addresses")
    if not isinstance(assets, dict):
        raise PackageError("model.json: assets must be an object of assets by name")
    for name, asset in assets.items():
        told = asset if isinstance(asset, dict) else {}
        roles = told.get("roles", [])
        if not isinstance(told.get("href"), str) or not isinstance(roles, list):
            raise PackageError(f"model.json: asset {name} must be an object with an href, and a list of roles if any")


def _input(contract: Contract) -> dict[str, Any]:
    """Bands by name and order, what the array looks like, and z-scores in the contract's units."""
    ruled = contract.kind == "threshold"
    stats = () if ruled else zip(contract.mean, contract.std, strict=True)
    scaling = [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in stats]
    px = -1 if ruled else contract.chip_px
    return {
        "name": "chips",
        "description": f"Pixels in {contract.units}.",
        "bands": list(contract.bands),
        "input": {
            "shape": [-1, len(contract.bands) or -1, px, px],
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scaling or None,
        "resize_type": None,
        **({} if contract.rendering is None else {"pre_processing_function": _rendering(contract.rendering)}),
    }


def _rendering(rendering: Rendering) -> dict[str, str]:
    """How reflectance A becomes the picture that `value_scaling` is told of; stored pictures skip it."""
    (black, white), (low, high) = rendering.reflectance, rendering.levels
    line = f"{low} + (A - {black!r}) / {white - black!r} * {high - low}"
    return {"format": "gdal-calc", "expression": f"numpy.clip(numpy.rint({line}), {low}, {high})"}


def _output(contract: Contract) -> dict[str, Any]:
    """Probabilities, and what each class is called."""
    whole = contract.kind == "segmentation"
    shape = [-1, len(contract.classes), *([contract.chip_px] * 2 if whole else [])]
    return {
        "name": "probabilities",
        **({} if contract.second_look is None else {"description": _second_look(contract.second_look)}),
        "tasks": [_TASKS[contract.kind]],
        "result": {"shape": shape, "dim_order": list(_RASTER if whole else _TILE), "data_type": "float32"},
        "classification:classes": [
            {"value": c.value, "name": c.name, "color_hint": c.color[1:].upper()} for c in contract.classes
        ],
    }


def _second_look(least: float) -> str:
    """What the graph alone does not do."""
    return f"Where the best class has less than {least:g}, the mean over the chip's eight turns and mirrorings."


def _bands(contract: Contract) -> list[dict[str, str]]:
    return [{"name": name} for name in contract.bands]


def _assets(contract: Contract) -> dict[str, Any]:
    card = {"href": "./card.md", "type": "text/markdown", "roles": ["metadata"], "title": "Model card"}
    if contract.kind == "threshold":
        rule = {"href": "./model.json", "type": "application/json", "roles": ["mlm:model"], "title": "The threshold"}
        return {"model": rule | {"mlm:artifact_type": "swath.threshold"}, "card": card}
    onnx = {"href": "./model.onnx", "type": "application/octet-stream; application=onnx", "roles": ["mlm:model"]}
    weights = {"href": "./weights.safetensors", "type": "application/octet-stream", "roles": ["mlm:weights"]}
    return {
        "model": onnx | {"title": "Network with its softmax", "mlm:artifact_type": "onnx", "bands": _bands(contract)},
        "weights": weights | {"title": "Weights", "mlm:artifact_type": "safetensors"},
        "card": card,
    }
