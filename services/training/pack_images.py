"""A trained classifier as a package: graphs, judgement, statistics, card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from services.core.model.backends import Backend, open_backend
from services.core.model.batching import Chips
from services.core.model.package import INT8_GRAPH, ModelPackage
from services.core.model.package_save import save_package
from services.core.model.statistics import Tally
from services.core.version import code_version
from services.training.altered import evaluate_altered
from services.training.classification import ImagePlan, Trained
from services.training.confusion_picture import draw_confusion
from services.training.draft import drafted
from services.training.evaluate_images import ImageVerdict, evaluate_images, image_chips, measure_speeds
from services.training.figures import json_bytes
from services.training.image_card import image_card
from services.training.image_files import model_json
from services.training.images import LabelledImages
from services.training.precision import agreement
from services.training.seen_images import tell_seen
from services.training.settle_images import settle
from services.training.split_images import all_but, take

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
        int8: Whether to try 8 bit integers, which are kept if they cost little enough.

    Raises:
        PackageError: `out` holds something else.
    """
    held, contract = take(images, trained.held), trained.contract
    settled = settle(trained, images, plan, int8=int8)
    rounding = agreement(settled.network, torch.from_numpy(image_chips(contract, held.pixels)))
    files, precisions = dict(settled.files), rounding.precisions
    if settled.int8 is not None:
        files[INT8_GRAPH] = settled.int8
        precisions = (*precisions, "int8")
    files["model.json"] = model_json(settled.network, contract, plan.recipe, precisions)
    threads = torch.get_num_threads()
    with drafted(files) as draft:
        backend = open_backend(draft, name="openvino", precision="fp32", threads=threads)
        verdict = evaluate_images(draft, held, backend)
        tally = _tally(trained, held, backend)
        altered = evaluate_altered(draft, held, backend)
        speeds = measure_speeds(draft, held, threads=threads)
    metrics = verdict.as_json() | {
        "model": {"name": contract.name},  # its digest is not known before this file is
        "training": _training(trained, images, plan) | {"rough_share": settled.rough_share},
        "altered": altered,
        "all_views": settled.as_json(),
        "temperature": round(settled.temperature, 4),
        "bf16_against_fp32": rounding.as_json(),
        "images_per_second": speeds,
    }
    if validation is not None:
        metrics["cross_validation"] = dict(validation)
    title = f"{contract.name}: {len(held)} images it never learned from"
    files |= {
        "statistics.json": tally.statistics().encode(),
        "metrics.json": json_bytes(metrics),
        "figures/confusion.png": draw_confusion(
            verdict.accuracy.confusion, [c.name for c in contract.classes], title=title
        ),
        "card.md": image_card(plan.recipe, metrics).encode(),
    }
    return ImageReport(package=save_package(out, files), verdict=verdict)


def _tally(trained: Trained, held: LabelledImages, backend: Backend) -> Tally:
    """What images like those it learned from look like, and what it answers to them: drift is measured from here.

    The held images, because on those it learned from it is surer than it will ever be again.
    """
    tally = Tally(trained.contract)
    for at in range(0, len(held), _PART):
        chips: Chips = image_chips(trained.contract, held.pixels[at : at + _PART])
        tally.see(chips, backend.predict(chips))
    return tally


def _training(trained: Trained, images: LabelledImages, plan: ImagePlan) -> dict[str, Any]:
    fitted = trained.fitted
    return {
        "data": images.digest,
        "images": len(images) - len(trained.held),
        "seen": tell_seen(images, all_but(len(images), trained.held)),
        "seed": plan.seed,
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "cpu_minutes": round(fitted.cpu_s / 60, 1),
        "threads": torch.get_num_threads(),
        "code": code_version(),
        "torch": torch.__version__,
        "history": fitted.history,
    }
