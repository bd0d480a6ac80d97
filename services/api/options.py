"""What the service is given beside its site: by the command that starts it, or by a test."""

from dataclasses import dataclass
from typing import Protocol

from services.core.boxes import BBox
from services.core.records import Run


class StartRun(Protocol):
    """Starts a run over a window of a registered scene, beside the service, and does not wait for it."""

    def __call__(self, *, scene_id: str, model: str, bbox: BBox) -> Run:
        """The run as it was planned.

        Args:
            scene_id: As the catalog has it.
            model: A digest.
            bbox: West, south, east, north in degrees.

        Raises:
            SwathError: It cannot be planned, or another one is under way.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """Everything optional: an app without them answers all but runs."""

    start_run: StartRun | None = None  #: None: a large window of /infer is refused
