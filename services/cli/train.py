"""`swath train`: make a package from data, and say how good it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.cli.output import notes, print_json, say
from services.core.downloads import at_hand, fetcher_once
from services.core.log import configure_logging, get_logger
from services.core.model.package import ModelPackage
from services.core.model.package_save import check_free
from services.core.raster.href import shown_href
from services.core.raster.open import Fetch
from services.core.settings import load_settings

if TYPE_CHECKING:
    from services.training.classification import Progress as ImageProgress
    from services.training.fit import Epoch
    from services.training.fit import Progress as FitProgress
    from services.training.fit_images import ImageEpoch


def train_threshold_command(
    scenes: Sequence[str], *, out: str, labels: str | None, tile_px: int, name: str, as_json: bool
) -> int:
    """Learn a threshold from scenes, by labels or by Otsu."""
    from services.training.threshold import train_threshold

    fetch = _begin(out)
    truth = at_hand(labels, fetch) if labels else None
    package = train_threshold(scenes, Path(out), labels=truth, tile_px=tile_px, name=name, fetch=fetch)
    return _report(package, as_json=as_json)


def train_segmentation_command(
    scene: str, truth: str, *, out: str, epochs: int | None, seed: int, as_json: bool
) -> int:
    """Train the land-cover network and judge it on blocks of the scene that it never saw."""
    from services.training.segmentation import train_segmentation

    fetch = _begin(out)
    train = train_segmentation if epochs is None else partial(train_segmentation, epochs=epochs)
    with _epochs() as progress:
        report = train(scene, at_hand(truth, fetch), Path(out), seed=seed, progress=progress, fetch=fetch)
    return _report(report.package, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class EurosatWish:
    """Options of `swath train eurosat`; None: the schedule's own."""

    epochs: int | None
    folds: int  #: 0 or 1: no cross-validation
    fold_epochs: int | None
    rough_cost: float  #: share of answers that robustness may cost
    seed: int


def train_eurosat_command(data: str, out: str, wish: EurosatWish, *, as_json: bool) -> int:
    """Train the EuroSAT classifier, judge it on images that it never saw, and pack it."""
    from services.training.classification import ImagePlan, cross_validate, train_images
    from services.training.image_recipe import EUROSAT_RGB
    from services.training.images import read_labelled_images
    from services.training.pack_images import pack_images

    fetch = _begin(out)
    images = read_labelled_images(at_hand(data, fetch))
    EUROSAT_RGB.check_classes(images.classes, shown_href(data))
    EUROSAT_RGB.check_size((images.pixels.shape[2], images.pixels.shape[3]), shown_href(data))
    plan = ImagePlan(recipe=EUROSAT_RGB, seed=wish.seed, rough_cost=wish.rough_cost)
    work = Path(f"{out.rstrip('/')}.training")
    with _image_epochs() as progress:
        found = None
        if wish.folds > 1:
            short = plan.of_epochs(wish.fold_epochs or wish.epochs)
            found = cross_validate(images, short, folds=wish.folds, work=work, progress=progress)
        plan = plan.of_epochs(wish.epochs)
        trained = train_images(images, plan, work=work, progress=progress)
    report = pack_images(trained, images, plan, Path(out), validation=found)
    return _report(report.package, as_json=as_json)


def _begin(out: str) -> Fetch:
    """What every training looks after first; how its remote files are fetched."""
    settings = load_settings()
    configure_logging(settings.log_level)
    check_free(Path(out))
    return fetcher_once(settings)


def _report(package: ModelPackage, *, as_json: bool) -> int:
    if as_json:
        print_json(
            {
                "name": package.contract.name,
                "kind": package.contract.kind,
                "digest": package.digest,
                "out": str(package.root),
                "metrics": package.metrics,
            }
        )
        return 0
    say(package.card)
    say(f"  {package.digest}", lead=str(package.root))
    say(f"use it: swath run SCENE --model {package.root}")
    return 0


@contextmanager
def _image_epochs() -> "Iterator[ImageProgress]":
    """A bar of epochs that moves with every step, with the accuracy, on a terminal only; and a log line per epoch."""
    from services.training.classification import Progress as ImageProgress

    with _bar("{task.fields[told]}") as progress:
        tasks: dict[str, TaskID] = {}

        def after_step(title: str, done: float, of: int) -> None:
            if title not in tasks:
                tasks[title] = progress.add_task(title, total=of, told="")
            progress.update(tasks[title], completed=done)

        def after_epoch(title: str, epoch: "ImageEpoch") -> None:
            told = f"{epoch.px} px  loss {epoch.loss:.3f}  validation {100 * epoch.validation:.2f} %"
            progress.update(tasks[title], told=told)
            get_logger(__name__).info(
                "epoch", training=title, number=epoch.number, of=epoch.of, loss=epoch.loss, validation=epoch.validation
            )

        yield ImageProgress(after_epoch, after_step)


@contextmanager
def _epochs() -> "Iterator[FitProgress]":
    """A bar of epochs with the loss, on a terminal only."""
    with _bar("loss {task.fields[loss]}") as progress:
        task = progress.add_task("training", total=None, loss="-")

        def after_epoch(epoch: "Epoch") -> None:
            progress.update(task, total=epoch.of, completed=epoch.number, loss=f"{epoch.loss:.3f}")

        yield after_epoch


def _bar(told: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"epochs  {told}"),
        TimeRemainingColumn(),
        console=notes,
        disable=not notes.is_terminal,
    )
