"""Train a segmentation network on one labelled scene, judge it on blocks it never saw, and pack what was judged."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.core.model.backends import open_backend
from services.core.model.contract import Contract
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.networks.registry import build_network
from services.core.model.networks.small_unet import RECEPTIVE_RADIUS_PX
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.core.model.statistics import Statistics
from services.core.raster.classmap import UNLABELLED
from services.core.raster.open import Fetch
from services.core.version import code_version
from services.training.card import segmentation_card
from services.training.draft import drafted
from services.training.evaluate import Accuracy, forest_baseline, judge, map_scene
from services.training.evaluate_scene import labelled_digest
from services.training.export import onnx_bytes, weights_bytes
from services.training.figures import json_bytes
from services.training.fit import FitPlan, FitSamples, Progress, fit
from services.training.precision import bf16_agreement
from services.training.recipe import LANDCOVER_L7, Recipe
from services.training.samples import LabelledScene, Split, check_labelled, normalised, plan_split, read_labelled
from services.training.statistics import training_statistics

_NETWORK = "small-unet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came out of it."""

    package: ModelPackage
    test: Accuracy
    baseline: dict[str, float]  #: overall test accuracy of a random forest, by its features; empty: not asked for
    seconds: float


def train_segmentation(  # noqa: PLR0913  # by keyword, each an option of `swath train`
    image: str | Path,
    truth: Path,
    out: Path,
    *,
    recipe: Recipe = LANDCOVER_L7,
    seed: int = 7,
    epochs: int = 30,
    progress: Progress | None = None,
    baseline: bool = True,
    fetch: Fetch | None = None,
) -> Report:
    """Train, judge and pack. The package holds the very network that was judged, trained on the training part alone.

    Equal inputs, seed, code and machine give the same digest.

    Args:
        image: The scene.
        truth: Its class raster.
        out: Folder of the package to write.
        recipe: Classes, bands and prose.
        seed: Of weights and crops.
        epochs: Of 8 steps with 16 crops each.
        progress: Called after each epoch.
        baseline: Also train the random forest to compare with.
        fetch: Brings a remote scene's files; None: local files only.

    Raises:
        BandMismatchError, ContractError, RequestError, UnreadableSceneError: The data does not serve.
        PackageError: `out` holds something else.
    """
    start = time.perf_counter()
    labelled = read_labelled(image, truth, contract=recipe.draft(), first_class=recipe.first_class, fetch=fetch)
    split = plan_split(labelled.scene.shape, margin_px=RECEPTIVE_RADIUS_PX + 1)
    check_labelled(labelled.labels, split)
    contract = _learn_scaling(recipe, labelled, split)
    plan = FitPlan(
        seed=seed, epochs=epochs, classes=len(contract.classes), weight_power=recipe.weight_power, progress=progress
    )
    network = _fit(contract, labelled, split, plan)
    files, metrics = _network_files(network, contract, labelled, split, recipe)
    metrics |= {
        "baseline_random_forest_test": forest_baseline(labelled, split, seed=seed) if baseline else {},
        "training": {
            "data": labelled_digest(labelled.scene, truth, recipe.first_class),
            "seed": seed,
            "epochs": epochs,
            "code": code_version(),
            "torch": torch.__version__,
        },
    }
    (test, validation), seen = _judge(files, contract, labelled, split)
    metrics |= {"test": test.as_json(contract.classes), "validation": validation.as_json(contract.classes)}
    files |= {"metrics.json": json_bytes(metrics), "card.md": segmentation_card(recipe, metrics).encode()}
    package = save_package(out, files | {"statistics.json": seen.encode()})
    return Report(
        package=package,
        test=test,
        baseline=metrics["baseline_random_forest_test"],
        seconds=time.perf_counter() - start,
    )


def _learn_scaling(recipe: Recipe, labelled: LabelledScene, split: Split) -> Contract:
    """Mean and standard deviation per band over the usable pixels of the training part."""
    pixels = labelled.pixels[:, split.train & labelled.valid].astype("float64")
    mean, std = pixels.mean(axis=1), pixels.std(axis=1)
    return recipe.contract(tuple(mean.round(6).tolist()), tuple(std.clip(1e-6).round(6).tolist()))


def _fit(contract: Contract, labelled: LabelledScene, split: Split, plan: FitPlan) -> nn.Module:
    samples = FitSamples(
        seen=normalised(labelled, contract, ~split.held_out),
        whole=normalised(labelled, contract, labelled.valid),
        labels=labelled.labels,
        split=split,
    )
    with torch.random.fork_rng(devices=[]):  # the caller's own chance is none of our business
        torch.manual_seed(plan.seed)
        network = build_network(_NETWORK, _arguments(contract))
        return fit(network, samples, plan)


def _network_files(
    network: nn.Module, contract: Contract, labelled: LabelledScene, split: Split, recipe: Recipe
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """model.json, weights and graph; and what is known of them before they are judged."""
    rounding = bf16_agreement(network, normalised(labelled, contract, labelled.valid), split.validation)
    facts = ModelFacts(
        description=f"{len(recipe.classes)} classes of land cover. {recipe.data}",
        architecture="U-Net",
        framework_version=torch.__version__,
        total_parameters=sum(weights.numel() for weights in network.parameters()),
        bbox=labelled.scene.bbox,
        interval=recipe.interval,
        network={"name": _NETWORK, "arguments": _arguments(contract)},
        precisions=rounding.precisions,
    )
    files = {
        "model.json": json_bytes(build_item(contract, facts)),
        "weights.safetensors": weights_bytes(network),
        "model.onnx": onnx_bytes(network, bands=len(contract.bands), chip_px=contract.chip_px),
    }
    trained = split.train & (labelled.labels != UNLABELLED)
    return files, {"bf16_against_fp32": rounding.as_json(), "pixels": {"train": int(trained.sum())}}


def _judge(
    files: dict[str, bytes], contract: Contract, labelled: LabelledScene, split: Split
) -> tuple[tuple[Accuracy, Accuracy], Statistics]:
    """Map the scene as a batch run would, and count: (test, validation), and what the training part looks like.

    The torch backend, whatever else is installed, so that the numbers in the package do not depend on it.
    """
    with drafted(files) as draft:
        backend = open_backend(draft, name="torch", threads=torch.get_num_threads())
        answers = map_scene(draft, labelled.scene, backend)
        seen = training_statistics(draft, labelled, split, backend)
    test, validation = (
        judge(answers, labelled.labels, part, classes=len(contract.classes)) for part in (split.test, split.validation)
    )
    return (test, validation), seen


def _arguments(contract: Contract) -> dict[str, int]:
    return {"bands": len(contract.bands), "classes": len(contract.classes)}
