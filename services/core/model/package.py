"""A model package: one folder of plain files, known by the digest of all of them, checked before anything is loaded.

::

    model.json            STAC 1.1 Item with the MLM extension, and the contract (see mlm.py)
    card.md               for people: data, numbers, limits
    weights.safetensors   the network's weights            (not for kind `threshold`)
    model.onnx            the same network with its softmax (not for kind `threshold`)
    model.int8.onnx       optional: the same network computed in 8 bit integers, where little is lost by it
    metrics.json          optional: what was measured, for programs
    statistics.json       optional: histograms of the training data, which `swath drift` compares with
    figures/*.png|jpg     optional: what the card shows
    LICENSE               optional

Nothing else may lie in it. No file of a package is ever executed or unpickled; the ONNX graph may use standard
operators only, and no file outside itself.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from services.core.errors import ObjectNotFoundError, PackageError
from services.core.model.contract import Contract
from services.core.model.mlm import parse_item
from services.core.model.package_files import digest_files, list_files
from services.core.model.statistics import parse_statistics
from services.core.model.weights_check import check_onnx, check_safetensors

INT8_GRAPH = "model.int8.onnx"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DEEPEST = 64  #: of what lies in one another in a package's JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPackage:
    """A package that passed every check; its files are read again only through `read`, which checks them again."""

    contract: Contract
    digest: str  #: sha256 over the sorted (name, sha256, size) of all files: the model's version
    root: Path
    files: Mapping[str, str]  #: name with `/` -> sha256
    sizes: Mapping[str, int]  #: name -> bytes
    card: str
    item: Mapping[str, Any]  #: model.json

    @property
    def pin(self) -> str:
        """What names this very package wherever it is kept, and tells people which it is."""
        return f"{self.contract.name}@{self.digest}"

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured when it was trained; empty where the package does not say."""
        return _parse_json("metrics.json", self.read("metrics.json")) if "metrics.json" in self.files else {}

    @property
    def precisions(self) -> tuple[str, ...]:
        """Number formats in which its answers were checked; `fp32` always is one."""
        return tuple(self.item["properties"].get("swath:precisions", ("fp32",)))

    @property
    def network(self) -> dict[str, Any]:
        """`name` and `arguments` of the network page in core/model/networks that takes the weights; may be empty."""
        return dict(self.item["properties"].get("swath:network", {}))

    @property
    def at_first_look(self) -> "ModelPackage":
        """The same with every answer as its network gives it: nothing is looked at twice."""
        return replace(self, contract=self.contract.model_copy(update={"second_look": None}))

    def read(self, name: str) -> bytes:
        """One file's bytes, exactly those the digest speaks of.

        Raises:
            PackageError: No such file, or it changed since the package was checked.
        """
        if name not in self.files:
            raise PackageError(f"model package {self.root.name} has no {name}")
        try:
            body = (self.root / name).read_bytes()
        except OSError as exc:
            raise PackageError(f"{name} of model package {self.root.name} cannot be read: {exc.strerror}") from exc
        if hashlib.sha256(body).hexdigest() != self.files[name]:
            raise PackageError(f"{name} of model package {self.root.name} changed on disk; fetch the package again")
        return body


def load_package(path: Path, *, digest: str | None = None) -> ModelPackage:
    """Check a folder and everything in it.

    Args:
        path: The folder.
        digest: What the package must be, where the caller has it pinned.

    Raises:
        ObjectNotFoundError: No such folder.
        PackageError: Unsafe, damaged, incomplete, or not the pinned digest.
    """
    if not path.is_dir():
        raise ObjectNotFoundError(f"no model package at {path}: not a folder")
    sizes = list_files(path)
    bodies = {name: (path / name).read_bytes() for name in sizes}
    files = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    found = digest_files(files, sizes)
    if digest is not None and digest != found:
        raise PackageError(
            f"model package {path.name} is {found[:12]}, not the {digest[:12]} asked for; a file of it was changed"
        )
    return _check_bodies(path, bodies, (files, sizes, found))


def shipped_names() -> tuple[str, ...]:
    """Names of the packages that come with Swath, sorted."""
    folder = _shipped_folder()
    return tuple(sorted(path.name for path in folder.iterdir() if (path / "model.json").is_file()))


@cache
def shipped_package(name: str) -> ModelPackage:
    """A package that comes with Swath: part of the installation, so checked once in a process.

    Raises:
        ObjectNotFoundError: None has this name.
    """
    if name not in shipped_names():
        raise ObjectNotFoundError(f"no shipped model {name!r}; there are {', '.join(shipped_names())}")
    return load_package(_shipped_folder() / name)


def is_digest(text: str) -> bool:
    """Whether this is a whole package digest."""
    return _DIGEST.fullmatch(text) is not None


def _shipped_folder() -> Path:
    with resources.as_file(resources.files("services.core.model") / "packages") as folder:
        return folder


def _check_bodies(
    root: Path, bodies: Mapping[str, bytes], seal: tuple[dict[str, str], dict[str, int], str]
) -> ModelPackage:
    files, sizes, digest = seal
    for name in ("model.json", "card.md"):
        if name not in bodies:
            raise PackageError(f"model package {root.name} has no {name}")
    item = _parse_json("model.json", bodies["model.json"])
    contract = parse_item(item)
    network = {"weights.safetensors", "model.onnx"}
    if contract.kind == "threshold" and (network | {INT8_GRAPH}) & bodies.keys():
        raise PackageError(f"model package {root.name} is a threshold and may hold no network")
    if contract.kind != "threshold":
        for name in sorted(network - bodies.keys()):
            raise PackageError(f"model package {root.name} has no {name}")
        check_onnx(bodies["model.onnx"])
        check_safetensors(bodies["weights.safetensors"])
    if (INT8_GRAPH in bodies) != ("int8" in item["properties"].get("swath:precisions", ())):
        raise PackageError(f"model package {root.name} must hold {INT8_GRAPH} exactly if model.json lists int8")
    if INT8_GRAPH in bodies:
        check_onnx(bodies[INT8_GRAPH])
    _check_numbers(root, bodies)
    try:
        card = bodies["card.md"].decode()
    except UnicodeDecodeError as exc:
        raise PackageError(f"card.md of model package {root.name} is not UTF-8 text") from exc
    return ModelPackage(contract=contract, digest=digest, root=root, files=files, sizes=sizes, card=card, item=item)


def _check_numbers(root: Path, bodies: Mapping[str, bytes]) -> None:
    if "metrics.json" in bodies:
        _parse_json("metrics.json", bodies["metrics.json"])
    if "statistics.json" in bodies:
        parse_statistics(bodies["statistics.json"], f"statistics.json of model package {root.name}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check_repeatable(value: Any, depth: int = 0) -> None:
    """Refuse what JSON may hold and no item of a product could: 1e999, half a character, or too deep to be written."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} lists and objects lie in one another")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large for 64 bits")
    if isinstance(value, str):
        value.encode()
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for inner in value:
            _check_repeatable(inner, depth + 1)


def _parse_json(name: str, body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        _check_repeatable(value)
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{name} of a model package is not valid JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise PackageError(f"{name} of a model package must hold one JSON object")
    return value
