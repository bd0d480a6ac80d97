"""A trained classifier as a package: graphs, judgement, statistics, card."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.core.model.backends import Backend, open_backend
from services.core.model.batching import Chips
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.package import INT8_GRAPH, ModelPackage, save_package
from services.core.model.statistics import Tally
from services.core.version import code_version
from services.training.altered import evaluate_altered
from services.training.calibration import calibrate
from services.training.classification import NETWORK, ImagePlan, Trained, network_arguments
from services.training.confusion_picture import draw_confusion
from services.training.evaluate_images import ImageVerdict, evaluate_images, image_chips, measure_speeds
from services.training.export import onnx_bytes
from services.training.figures import json_bytes
from services.training.half import half_onnx, half_weights_bytes, round_to_half
from services.training.image_card import image_card
from services.training.images import LabelledImages
from services.training.precision import agreement
from services.training.quantise import CALIBRATION_IMAGES, int8_onnx
from services.training.split_images import all_but, take

#: What int8 may cost at most, as a share of the held-out images: 0.1 points.
INT8_TOLERANCE = 0.001
_PART = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """What came out of a training."""

    package: ModelPackage
    verdict: ImageVerdict  #: on the images it never learned from, by the fp32 graph


def pack_images(
    trained: Trained,
    images: LabelledImages,
    plan: ImagePlan,
    out: Path,
    *,
    validation: Mapping[str, Any] | None = None,
    int8: bool = True,
) -> ImageReport:
    """Export, judge on the held images, and write the package.

    Args:
        trained: From `train_images`.
        images: All images of that training.
        plan: Of that training.
        out: Folder of the package.
        validation: What `cross_validate` found; None: it was not done.
        int8: Whether to try 8 bit integers, which are kept if they cost at most `INT8_TOLERANCE`.

    Raises:
        PackageError: `out` holds something else.
    """
    held, seen = take(images, trained.held), take(images, all_but(len(images), trained.held))
    network = trained.fitted.network
    held_chips = torch.from_numpy(image_chips(trained.contract, held.pixels))
    temperature = calibrate(network, held_chips, torch.from_numpy(held.labels))
    round_to_half(network)  # the package holds its kernels twice, and should stay small
    files = {"model.json": _model_json(trained, plan, ("fp32",)), **_network_files(trained)}
    with _drafted(files) as draft:
        backend = open_backend(draft, name="openvino", precision="fp32", threads=torch.get_num_threads())
        verdict = evaluate_images(draft, held, backend)
        tally = _tally(trained, held, backend)
        altered = evaluate_altered(draft, held, backend)
    fast = _int8_files(trained, plan, files, seen, verdict=verdict, held=held) if int8 else {}
    metrics = _metrics(trained, images, plan, verdict) | {"int8": fast.pop("verdict", None)}
    metrics["altered"] = altered
    if validation is not None:
        metrics["cross_validation"] = dict(validation)
    metrics["temperature"] = round(temperature, 4)
    rounding = agreement(network, held_chips[:_PART])
    metrics["bf16_against_fp32"] = rounding.as_json()
    precisions = (*rounding.precisions, *(("int8",) if INT8_GRAPH in fast else ()))
    files |= fast | {"model.json": _model_json(trained, plan, precisions)}
    with _drafted(files) as draft:
        metrics["images_per_second"] = measure_speeds(draft, held, threads=torch.get_num_threads())
    title = f"{trained.contract.name}: {len(held)} images it never learned from"
    names = [c.name for c in trained.contract.classes]
    files |= {
        "statistics.json": tally.statistics().encode(),
        "metrics.json": json_bytes(metrics),
        "figures/confusion.png": draw_confusion(verdict.accuracy.confusion, names, title=title),
        "card.md": image_card(plan.recipe, metrics).encode(),
    }
    return ImageReport(package=save_package(out, files), verdict=verdict)


def _model_json(trained: Trained, plan: ImagePlan, precisions: tuple[str, ...]) -> bytes:
    network, contract = trained.fitted.network, trained.contract
    facts = ModelFacts(
        description=f"{len(contract.classes)} classes of land use. {plan.recipe.data}",
        architecture="ResNet",
        framework_version=torch.__version__,
        total_parameters=sum(weights.numel() for weights in network.parameters()),
        interval=plan.recipe.interval,
        network={"name": NETWORK, "arguments": network_arguments(plan.recipe)},
        precisions=precisions,
        license=plan.recipe.license,
    )
    return json_bytes(build_item(contract, facts))


def _network_files(trained: Trained) -> dict[str, bytes]:
    contract = trained.contract
    plain = trained.fitted.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub
    return {
        "weights.safetensors": half_weights_bytes(plain),
        "model.onnx": half_onnx(onnx_bytes(plain, bands=len(contract.bands), chip_px=contract.chip_px, fused=False)),
    }


def _int8_files(  # by keyword
    trained: Trained,
    plan: ImagePlan,
    files: Mapping[str, bytes],
    seen: LabelledImages,
    *,
    verdict: ImageVerdict,
    held: LabelledImages,
) -> dict[str, Any]:
    """The int8 graph if it is right enough, and either way what was found (`verdict`, for metrics.json)."""
    chosen = np.random.default_rng(plan.seed).choice(len(seen), min(CALIBRATION_IMAGES, len(seen)), replace=False)
    contract, network = trained.contract, trained.fitted.network
    plain = onnx_bytes(network, bands=len(contract.bands), chip_px=contract.chip_px)
    graph = int8_onnx(plain, image_chips(trained.contract, seen.pixels[np.sort(chosen)]))
    with _drafted({**files, "model.json": _model_json(trained, plan, ("fp32", "int8")), INT8_GRAPH: graph}) as draft:
        backend = open_backend(draft, name="openvino", precision="int8", threads=torch.get_num_threads())
        found = {
            "fp32": verdict.accuracy.overall,
            "int8": evaluate_images(draft, held, backend).accuracy.overall,
        }
    kept = found["int8"] >= found["fp32"] - INT8_TOLERANCE - 1e-9
    told = {name: round(value, 6) for name, value in found.items()} | {"kept": kept, "tolerance": INT8_TOLERANCE}
    return {"verdict": told} | ({INT8_GRAPH: graph} if kept else {})


def _tally(trained: Trained, held: LabelledImages, backend: Backend) -> Tally:
    """What images like those it learned from look like, and what it answers to them: drift is measured from here.

    The held images, because on those it learned from it is surer than it will ever be again.
    """
    tally = Tally(trained.contract)
    for at in range(0, len(held), _PART):
        chips: Chips = image_chips(trained.contract, held.pixels[at : at + _PART])
        tally.see(chips, backend.predict(chips))
    return tally


def _metrics(trained: Trained, images: LabelledImages, plan: ImagePlan, verdict: ImageVerdict) -> dict[str, Any]:
    fitted = trained.fitted
    return verdict.as_json() | {
        "model": {"name": trained.contract.name},  # its digest is not known before this file is
        "training": {
            "data": images.digest,
            "images": len(images) - len(trained.held),
            "seed": plan.seed,
            "epochs": len(fitted.history),
            "best_epoch": fitted.best_epoch,
            "rough_share": fitted.rough_share,
            "cpu_minutes": round(fitted.cpu_s / 60, 1),
            "threads": torch.get_num_threads(),
            "code": code_version(),
            "torch": torch.__version__,
            "history": fitted.history,
        },
    }


class _drafted:  # noqa: N801  # reads as a verb: with _drafted(files) as draft
    """The files as a package in a folder that goes away."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = {**files, "card.md": b"A draft, to be judged."}
        self._folder = tempfile.TemporaryDirectory(prefix="swath-training-")

    def __enter__(self) -> ModelPackage:
        return save_package(Path(self._folder.name) / "draft", self._files)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
