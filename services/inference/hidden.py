"""What hides tiles of a unit, pixels that cannot be read and chips without an answer, found without computing twice."""

import numpy as np

from services.core.errors import UnanswerableError
from services.core.flow.flow import Flow
from services.core.flow.operators import Read
from services.core.flow.schedule import build_schedule
from services.core.flow.tile import Bench, Pixels
from services.core.grid import Window
from services.core.job import Job
from services.core.model.contract import Contract
from services.core.proven_reader import ProvenReader
from services.core.watched_bench import WatchedBench

Piece = tuple[Window, Window]  #: (window of the tile grid, window of the flow's layer)


def find_unreadable(job: Job, pieces: list[Piece], reader: ProvenReader) -> dict[Window, str]:
    """The tiles of some pieces that hang on pixels which cannot be read, each with a sentence; computes nothing.

    Raises:
        RetryableError: The scene could not be reached; nothing is known about its tiles.
        ObjectNotFoundError: It is no longer the scene that was ingested.
    """
    failing = [tiles for tiles, window in pieces if _fault(job.flow, window, reader)]
    suspects = [
        (tile, window)
        for tiles in failing
        for tile, window in job.plan.split(tiles)
        if _fault(job.flow, window, reader)
    ]
    if suspects:
        reader.check_files()  # not before: what made all these fail may have begun a moment ago
    faults = {tile: _fault(job.flow, window, reader) for tile, window in suspects}
    return {tile: fault for tile, fault in faults.items() if fault is not None}


def leave_out(job: Job, pieces: list[Piece], tiles: dict[Window, str]) -> list[Piece]:
    """The pieces without some tiles: as they were where none of these is in them, else tile by tile."""
    left = []
    for piece in pieces:
        parts = list(job.plan.split(piece[0]))
        healthy = [part for part in parts if part[0] not in tiles]
        left += [piece] if len(healthy) == len(parts) else healthy
    return left


def _fault(flow: Flow, window: Window, reader: ProvenReader) -> str | None:
    schedule = build_schedule(flow, [window])
    reads = (step for step in schedule.steps if isinstance(schedule.flows[step.flow].operator, Read))
    faults = (reader.fault(read) for step in reads for read in step.outs)
    return next((fault for fault in faults if fault is not None), None)


class TolerantBench(WatchedBench):
    """Answers NaN for a chip that the network has no number for, and does not count it."""

    def __init__(self, bench: Bench, contract: Contract) -> None:
        super().__init__(bench, contract)
        self._contract = contract
        self._reach = -np.inf
        self.reason: str | None = None  #: what was said of the most extreme of those chips; None: there was none

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """See `WatchedBench.predict`."""
        try:
            return super().predict(model, chips)
        except UnanswerableError as exc:
            if len(chips) > 1:
                return np.concatenate([self.predict(model, chip[None]) for chip in chips])
            reach = np.abs(chips).max()
            if self.reason is None or reach > self._reach:
                self._reach, self.reason = reach, str(exc)
            side = chips.shape[2:] if self._contract.kind == "segmentation" else ()
            return np.full((1, len(self._contract.classes), *side), np.nan, np.float32)
