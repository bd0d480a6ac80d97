"""`swath train`: make a package from data, and say how good it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.output import console, notes, print_json
from services.core.errors import BackendUnavailableError
from services.core.log import configure_logging
from services.core.model.package import ModelPackage
from services.core.settings import load_settings

if TYPE_CHECKING:
    from services.training.fit import Epoch
    from services.training.fit import Progress as FitProgress


def train_threshold_command(
    scenes: Sequence[str], *, out: str, labels: str | None, tile_px: int, name: str, as_json: bool
) -> int:
    """Learn a threshold from scenes, by labels or by Otsu."""
    from services.training.threshold import train_threshold

    configure_logging(load_settings().log_level)
    truth = Path(labels) if labels else None
    package = train_threshold([Path(scene) for scene in scenes], Path(out), labels=truth, tile_px=tile_px, name=name)
    return _report(package, as_json=as_json)


def train_segmentation_command(
    scene: str, truth: str, *, out: str, epochs: int | None, seed: int, as_json: bool
) -> int:
    """Train the land-cover network and judge it on blocks of the scene that it never saw."""
    try:
        from services.training.segmentation import train_segmentation
    except ModuleNotFoundError as exc:
        raise BackendUnavailableError(f"training needs {exc.name}; run: pip install 'swath[train]'") from exc

    configure_logging(load_settings().log_level)
    train = train_segmentation if epochs is None else partial(train_segmentation, epochs=epochs)
    with _epochs() as progress:
        report = train(Path(scene), Path(truth), Path(out), seed=seed, progress=progress)
    return _report(report.package, as_json=as_json)


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
    console.print(package.card, markup=False)
    console.print(f"[bold]{package.root}[/bold]  {package.digest}", soft_wrap=True)
    console.print(f"use it: [bold]swath run SCENE --model {package.root}[/bold]", soft_wrap=True)
    return 0


@contextmanager
def _epochs() -> "Iterator[FitProgress]":
    """A bar of epochs with the loss, on a terminal only."""
    progress = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  loss {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=notes,
        disable=not notes.is_terminal,
    )
    with progress:
        task = progress.add_task("training", total=None, loss="-")

        def after_epoch(epoch: "Epoch") -> None:
            progress.update(task, total=epoch.of, completed=epoch.number, loss=f"{epoch.loss:.3f}")

        yield after_epoch
