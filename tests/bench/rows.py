"""What a measurement comes to: lines of the table, each with its demand, its figure and its peer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    what: str
    must: str
    measured: str
    peer: str
    met: bool | None  #: None: not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One measurement: its lines, and remarks that belong below the table."""

    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What every measurement gets."""

    folder: Path  #: temporary; scenes, homes and packages go here
    models: dict[str, str]  #: name -> package folder
    backend: str  #: what the networks run on here
    quick: bool
    peer_python: str | None  #: the interpreter that has TorchGeo
    scenes: dict[str, Path] = field(default_factory=dict)  #: made so far

    @property
    def side_px(self) -> int:
        """Of the scene that speeds are measured on: a Sentinel-2 granule at 10 m."""
        return 2_560 if self.quick else 10_980

    @property
    def rounds(self) -> int:
        """How often everything is repeated."""
        return 1 if self.quick else 3

    @property
    def network_settings(self) -> dict[str, str]:
        """Pins the backend, so that no process of the bench chooses another by a noisy timing."""
        return pinned(self.backend)

    def home(self, name: str) -> Path:
        """A new, empty installation: nothing of an earlier run can be reused."""
        taken = len(list(self.folder.glob(f"home-{name}-*")))
        home = self.folder / f"home-{name}-{taken}"
        home.mkdir()
        return home


Measure = Callable[[Place], Finding]


def missed(what: str, must: str, reason: str) -> Line:
    """A line that could not be measured."""
    return Line(what=what, must=must, measured=f"not measured: {reason}", peer="", met=None)


def pinned(backend: str) -> dict[str, str]:
    """Settings under which a run uses exactly this backend."""
    name, precision = backend.split(":")
    return {"backend": name, "precision": precision}


def joined(findings: Iterable[Finding]) -> Finding:
    """Several findings as one."""
    found = list(findings)
    return Finding(
        lines=tuple(line for one in found for line in one.lines),
        remarks=tuple(remark for one in found for remark in one.remarks),
    )
