"""A run put into the ledger for others to work on: what shards in pods of their own start from."""

import re
from dataclasses import dataclass
from pathlib import Path

from services.core.boxes import BBox
from services.core.command import run_command
from services.core.errors import ObjectNotFoundError
from services.core.ingest import ingest_scene, naming_of
from services.core.job import JobRequest
from services.core.raster.open import OpenOptions
from services.core.records import Scene
from services.core.site import Site
from services.inference.runs import resolve_out, start_run
from services.inference.task import Task

#: A whole id, as `swath ingest` tells it; a folder may be called so by its date.
_SCENE_ID = re.compile(r"[a-z0-9-]+-[0-9a-f]{10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a user may choose of a run."""

    model: str
    out: str | None = None
    tile_px: int | None = None
    gsd_m: float | None = None
    bbox: BBox | None = None

    def request(self, scene: Scene) -> JobRequest:
        """The part that decides pixels.

        Raises:
            WindowError: The box and the scene share no pixel.
        """
        return JobRequest.of(scene, tile_px=self.tile_px, gsd_m=self.gsd_m, bbox=self.bbox)

    def options(self) -> dict[str, object]:
        """That part as options of the command that repeats the run."""
        return {"--tile-px": self.tile_px, "--gsd": self.gsd_m, "--bbox": self.bbox}


def plan_for_shards(site: Site, named: str, choice: Choice) -> Task:
    """Register a run and its units, and compute none.

    Args:
        site: Where the shards will look.
        named: The id of a scene that the catalog knows, else what `swath run` takes.
        choice: How to run it.

    Raises:
        PermanentError: No such scene or model, or they do not fit.
        ConfigError: `out` cannot be written, or the memory does not suffice.
    """
    return plan_scene(site, _scene(site, named), choice)


def plan_scene(site: Site, scene: Scene, choice: Choice) -> Task:
    """The same for a scene that is registered, with the command that repeats the run.

    Raises as `plan_for_shards` does.
    """
    package = site.models.find(choice.model)
    return start_run(
        site,
        scene,
        package,
        request=choice.request(scene),
        out=resolve_out(choice.out, site.settings),
        command=run_command(naming_of(site, scene), model=package.pin, out=choice.out, options=choice.options()),
    )


def _scene(site: Site, named: str) -> Scene:
    if _SCENE_ID.fullmatch(named):
        try:
            return site.catalog.scene(named)
        except ObjectNotFoundError:
            if not Path(named).exists():
                raise
    return ingest_scene(site, [named], OpenOptions())
