"""What a segmentation network was trained on, counted as a run counts what it sees."""

from services.core.flow.execute import compute
from services.core.flow.flow import Flow
from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window, whole
from services.core.model.backends import Backend
from services.core.model.package import ModelPackage
from services.core.model.statistics import Statistics
from services.core.watched_bench import WatchedBench
from services.training.samples import LabelledScene, Split


def training_statistics(package: ModelPackage, labelled: LabelledScene, split: Split, backend: Backend) -> Statistics:
    """Of the training part of the scene, as nodata hides the rest, by the very operators of a batch run."""
    bench = WatchedBench(_PartBench(labelled, split.train, backend), package.contract)
    flow = Flow.open(labelled.scene, labelled.bands).predict(package.digest, package.contract)
    compute(flow, whole(labelled.scene.shape), bench)
    return bench.tally.statistics()


class _PartBench:
    """A part of a scene in memory. See `services.core.flow.tile.Bench`."""

    def __init__(self, labelled: LabelledScene, part: Valid, backend: Backend) -> None:
        self._pixels, self._valid, self._backend = labelled.pixels, labelled.valid & part, backend

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        del bands
        cut = window.within(whole((self._valid.shape[0], self._valid.shape[1])))
        return self._pixels[:, *cut].copy(), self._valid[cut].copy()

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities of normalised chips."""
        del model
        return self._backend.predict(chips)
