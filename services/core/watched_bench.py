"""A bench that counts what passes between operators and network, for `swath drift`; runs and training use it."""

from services.core.flow.tile import Bench, Pixels, Valid
from services.core.grid import Window
from services.core.model.contract import Contract
from services.core.model.statistics import Tally


class WatchedBench:
    """Another bench, for the length of one unit or scene. See `services.core.flow.tile.Bench`."""

    def __init__(self, bench: Bench, contract: Contract) -> None:
        self._bench = bench
        self.tally = Tally(contract)

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        return self._bench.read(bands, window)

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities of normalised chips, counted with them."""
        answers = self._bench.predict(model, chips)
        self.tally.see(chips, answers)
        return answers
