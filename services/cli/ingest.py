"""`swath ingest`: validate, hash and register scenes; a refusal keeps its reason in the catalog."""

from collections.abc import Sequence

from services.cli.output import note, print_json, say
from services.cli.show import crs_name, scene_json
from services.cli.sources import SceneSource
from services.core.errors import PermanentError
from services.core.ingest import ingest_scene
from services.core.log import configure_logging
from services.core.raster.href import shown_href
from services.core.records import Scene
from services.core.settings import load_settings
from services.core.site import open_site


def ingest_scenes(sources: Sequence[SceneSource], *, as_json: bool) -> int:
    """Register every scene that can be; returns 65 if one was refused."""
    settings = load_settings()
    configure_logging(settings.log_level)
    scenes: list[Scene] = []
    refused: list[dict[str, str]] = []
    with open_site(settings) as site:
        for source in sources:
            try:
                scenes.append(ingest_scene(site, source.paths, source.options))
            except PermanentError as exc:
                refused.append({"source": shown_href(source.label), "reason": str(exc)})
                note(f"swath: {exc}")
                continue
            if not as_json:
                scene = scenes[-1]
                bands = ", ".join(band.name for band in scene.bands)
                say(
                    f"  {scene.shape[0]} x {scene.shape[1]} px of {scene.gsd_m:g} m, {crs_name(scene.crs)}, {bands}",
                    lead=scene.id,
                )
    if as_json:
        print_json({"scenes": [scene_json(scene) for scene in scenes], "refused": refused})
    return PermanentError.exit_code if refused else 0
