"""`swath models evaluate` and `swath models promote`: how good a package is, and whether it may replace another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.models import incumbent, open_here, parse_stage, person, promotable
from services.cli.output import print_facts, print_json, print_table, say
from services.core.catalog.entries import ModelStage, RegisteredModel
from services.core.catalog.stages import Stages
from services.core.downloads import at_hand, fetcher_once, open_at_hand
from services.core.errors import RequestError, StorageRefusedError
from services.core.machine import usable_cores
from services.core.model.backends import Backend, open_configured
from services.core.model.package import ModelPackage
from services.core.raster.open import Fetch
from services.core.settings import Settings
from services.core.site import Site

if TYPE_CHECKING:
    from services.training.evaluate_images import ImageVerdict
    from services.training.evaluate_scene import SceneVerdict
    from services.training.images import LabelledImages
    from services.training.promotion import Admission


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Where the truth is: a zip or folder of images, or a scene and its labels."""

    data: str
    labels: str | None = None
    first_class: int = 1


def evaluate_command(wanted: str, held: HeldOut, *, altered: bool, out: str | None, as_json: bool) -> int:
    """Judge a package, and write the numbers and the picture where asked."""
    if altered and held.labels is not None:
        raise RequestError("--altered alters images, and --labels is for a scene; leave one of them out")
    with open_here() as site:
        if altered:  # looked for before the long work: it alone wants torch
            from services.training.altered import evaluate_altered

        package, fetch = site.models.find(wanted), fetcher_once(site.settings)
        images = _read_images(held, package, fetch)
        backend = _open_backend(site.settings, package)
        verdict = _judge(package, held, images, backend, fetch)
        report = verdict.as_json()
        if images is not None:
            from services.training.evaluate_images import measure_speeds

            threads = _threads(site.settings)
            report["images_per_second"] = measure_speeds(package, images, threads=threads)
            report["threads"] = threads
            if altered:
                report["altered"] = evaluate_altered(package, images, backend)
        if out is not None:
            _write(Path(out), package, verdict, report)
    if as_json:
        print_json(report)
    else:
        _show(report)
    return 0


def promote_command(
    wanted: str, held: HeldOut | None, *, to: str, why: str, who: str | None = None, as_json: bool = False
) -> int:
    """Change a package's stage; production only after its own checks, and a comparison with what it replaces.

    The other stages need no file of it: a damaged package can be retired too.
    """
    stage = parse_stage(to)
    with open_here() as site:
        model, stages = promotable(site, wanted), Stages(site.catalog)
        after = len(stages.stage_history(model.name))  # whoever takes a step from here on is noticed
        admission = _admit(site, model, held) if stage == ModelStage.PRODUCTION else None
        steps = stages.promote(model.digest, stage=stage, who=who or person(), why=why, after=after)
    if as_json:
        checks = None if admission is None else admission.as_json()
        print_json({"steps": [step.model_dump(mode="json") for step in steps], "checks": checks})
        return 0
    if not steps:
        say(f"{model.name} {model.digest[:12]} is {stage} already")
    for digest in admission.unlisted if admission is not None else ():
        say(f"{digest[:12]} does not list the images it learned from; some of them in --data would not be noticed")
    for step in steps:
        say(f"{step.name} {step.digest[:12]} is now {step.stage}")
    return 0


def _admit(site: Site, model: RegisteredModel, held: HeldOut | None) -> "Admission":
    from services.training.promotion import Trial, admit

    candidate, current = site.models.by_digest(model.digest), incumbent(site, model.name)
    if held is None:
        return admit(candidate, current)

    fetch = fetcher_once(site.settings)
    images = _read_images(held, candidate, fetch)

    def measure(package: ModelPackage) -> Mapping[str, Any]:
        return _judge(package, held, images, _open_backend(site.settings, package), fetch).held_out

    trial = Trial(data=_data_digest(held, images, fetch), images=images, measure=measure)
    return admit(candidate, current, trial=trial)


def _data_digest(held: HeldOut, images: "LabelledImages | None", fetch: Fetch) -> str:
    if images is not None:
        return images.digest
    from services.training.evaluate_scene import labelled_digest

    return labelled_digest(open_at_hand(held.data, fetch), at_hand(held.labels or "", fetch), held.first_class)


def _open_backend(settings: Settings, package: ModelPackage) -> Backend:
    return open_configured(package, settings, threads=_threads(settings))


def _judge(
    package: ModelPackage, held: HeldOut, images: "LabelledImages | None", backend: Backend, fetch: Fetch
) -> "ImageVerdict | SceneVerdict":
    if images is None:
        from services.training.evaluate_scene import evaluate_scene

        labels, first = at_hand(held.labels or "", fetch), held.first_class
        return evaluate_scene(package, held.data, labels, backend=backend, first_class=first, fetch=fetch)
    from services.training.evaluate_images import evaluate_images

    return evaluate_images(package, images, backend)


def _read_images(held: HeldOut, package: ModelPackage, fetch: Fetch) -> "LabelledImages | None":
    """Images of a zip or folder; None: the truth is a label raster."""
    if package.contract.kind == "threshold":
        raise RequestError(f"model {package.contract.name} is a threshold: it has no accuracy to measure")
    if held.labels is not None:
        return None
    if package.contract.kind == "segmentation":
        raise RequestError(f"model {package.contract.name} names pixels; give --data SCENE and --labels RASTER")
    from services.training.images import read_labelled_images

    return read_labelled_images(at_hand(held.data, fetch))


def _threads(settings: Settings) -> int:
    return settings.workers or usable_cores()


def _write(folder: Path, package: ModelPackage, verdict: "ImageVerdict | SceneVerdict", report: dict[str, Any]) -> None:
    from services.training.confusion_picture import draw_confusion

    names = [c.name for c in package.contract.classes]
    right = f"{100 * verdict.accuracy.overall:.2f} % of {verdict.accuracy.pixels} right"
    title = f"{package.contract.name} {package.digest[:12]}: {right}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "confusion.png").write_bytes(draw_confusion(verdict.accuracy.confusion, names, title=title))
        (folder / "evaluation.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    except OSError as exc:
        raise StorageRefusedError(f"{folder} cannot be written: {exc.strerror}") from exc


def _show(report: dict[str, Any]) -> None:
    held = report["held_out"]
    facts = {"model": f"{report['model']['name']} {report['model']['digest'][:12]}", "backend": report["backend"]}
    facts |= {"data": held["data"][:12], "right": f"{100 * held['accuracy']:.2f} %"}
    if "calibration" in report:
        facts["calibration error"] = f"{100 * report['calibration']['ece']:.2f} points"
    print_facts(facts)
    columns = list(next(iter(report["per_class"].values())))
    print_table(
        ["class", *columns],
        [[name, *(_cell(row[column]) for column in columns)] for name, row in report["per_class"].items()],
    )
    for name, share in report.get("altered", {}).items():
        say(f"{name}: {100 * share:.2f} % right")
    for backend, rate in report.get("images_per_second", {}).items():
        told = rate if isinstance(rate, str) else f"{rate:.0f} images/s on {report['threads']} threads"
        say(f"{backend}: {told}")


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{100 * value:.2f} %"
