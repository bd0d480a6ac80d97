"""How right a segmentation is on a scene and its class raster, by the operators of a batch run."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.core.errors import ContractError, ObjectNotFoundError, RequestError
from services.core.model.backends import Backend
from services.core.model.contract import Contract
from services.core.model.package import ModelPackage
from services.core.raster.classmap import UNLABELLED, read_class_map
from services.core.raster.open import Fetch
from services.core.records import Scene
from services.training.evaluate import Accuracy, judge, map_scene
from services.training.samples import LabelledScene, read_labelled

_MOST_NUMBERS = 12  #: of a label raster, that a sentence lists one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneVerdict:
    """What a package made of a labelled scene."""

    package: ModelPackage
    backend: str
    data: str  #: digest of scene and labels
    accuracy: Accuracy

    @property
    def held_out(self) -> dict[str, Any]:
        """For `held_out` of metrics.json, which promotion compares."""
        return {"data": self.data, "pixels": self.accuracy.pixels, "accuracy": round(self.accuracy.overall, 6)}

    def as_json(self) -> dict[str, Any]:
        """Everything, with classes by name."""
        return {
            "model": {"name": self.package.contract.name, "digest": self.package.digest},
            "backend": self.backend,
            "held_out": self.held_out,
            **self.accuracy.as_json(self.package.contract.classes),
        }


def evaluate_scene(
    package: ModelPackage,
    scene: str | Path,
    labels: Path,
    *,
    backend: Backend,
    first_class: int,
    fetch: Fetch | None = None,
) -> SceneVerdict:
    """Map a scene and compare every labelled pixel.

    Args:
        package: A segmentation.
        scene: To map.
        labels: Class raster on the scene's grid.
        backend: With which.
        first_class: The number in `labels` that means class value 0; smaller ones are unlabelled.
        fetch: Brings a remote scene's files; None: local files only.

    Raises:
        ContractError: Not a segmentation, or the scene is not what it takes.
        ObjectNotFoundError: No such file.
        RequestError: No pixel has both a label and numbers to map.
    """
    if package.contract.kind != "segmentation":
        raise ContractError(f"model {package.contract.name} is a {package.contract.kind}; labels of pixels do not fit")
    _check_there(labels)
    known = read_labelled(scene, labels, contract=package.contract, first_class=first_class, fetch=fetch)
    _check_labelled(known, labels, package.contract, first_class)
    answers = map_scene(package, known.scene, backend)
    everywhere = np.ones(known.labels.shape, np.bool_)
    accuracy = judge(answers, known.labels, everywhere, classes=len(package.contract.classes))
    data = labelled_digest(known.scene, labels, first_class)
    return SceneVerdict(package=package, backend=backend.id, data=data, accuracy=accuracy)


def labelled_digest(scene: Scene, labels: Path, first_class: int) -> str:
    """Of a scene with its class raster: `data` of `held_out` and of `training`.

    Raises:
        ObjectNotFoundError: There is no such raster.
    """
    _check_there(labels)
    seal = f"{scene.digest} {hashlib.sha256(labels.read_bytes()).hexdigest()} {first_class}"
    return hashlib.sha256(seal.encode()).hexdigest()


def _check_labelled(known: LabelledScene, labels: Path, contract: Contract, first_class: int) -> None:
    """Of no pixels none is wrong: a network of chance would be as good as any."""
    if (known.labels != UNLABELLED).any():
        return
    numbers = np.unique(read_class_map(labels, known.scene))
    numbers = numbers[numbers != UNLABELLED]
    held = ", ".join(map(str, numbers)) or "no number"
    if len(numbers) > _MOST_NUMBERS:
        held = f"{numbers[0]} to {numbers[-1]}"
    last = first_class + len(contract.classes) - 1
    raise RequestError(
        f"{labels} labels no valid pixel of {known.scene.title}: it holds {held}, and with --first-class {first_class} "
        f"the classes of model {contract.name} are {first_class} to {last}; give its number of class 0, or other labels"
    )


def _check_there(labels: Path) -> None:
    if not labels.is_file():
        raise ObjectNotFoundError(f"no label raster at {labels}")
