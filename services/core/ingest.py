"""From what a user names to a scene the catalog knows, or a refusal that it remembers."""

from collections.abc import Sequence

from services.core.downloads import fetcher
from services.core.errors import PermanentError, RequestError
from services.core.names import public_href
from services.core.raster.href import shown_href
from services.core.raster.open import OpenOptions, open_scene
from services.core.records import Naming, Scene
from services.core.site import Site


def ingest_scene(site: Site, sources: Sequence[str], options: OpenOptions) -> Scene:
    """Validate, hash and register one scene; the same files again give the same scene.

    Raises:
        PermanentError: Refused; the catalog keeps the reason.
        RetryableError: Store or database does not answer.
    """
    try:
        scene = open_scene(sources, options=options, fetch=fetcher(site.settings, fresh=True))
    except PermanentError as exc:
        site.catalog.add_refusal(shown_href(sources[0] if sources else next(iter(options.bands.values()))), str(exc))
        raise
    site.catalog.add_scene(scene)
    return scene


def naming_of(site: Site, scene: Scene) -> Naming:
    """How to name a registered scene to a command, so that it gives the same pixels.

    One that was registered before this was kept is opened once more by its files alone, which shows whether there were
    options.

    Raises:
        RequestError: There were options, or its files are gone, so that nobody knows.
        RetryableError: A remote file cannot be fetched.
    """
    if scene.naming is not None:
        return scene.naming
    hrefs = [asset.href for asset in scene.assets]
    sources = hrefs if scene.source == " ".join(map(public_href, hrefs)) else [scene.source]
    unknown = RequestError(
        f"scene {scene.id} was registered by an older Swath, which did not keep with which options; register it again "
        "as then: swath ingest SCENE, with --band, --bands, --crs and --bounds if there were any"
    )
    try:
        again = open_scene(sources, fetch=fetcher(site.settings))
    except PermanentError as exc:
        raise unknown from exc
    if again.naming is None or again.digest != scene.digest:
        raise unknown
    site.catalog.add_scene(scene.model_copy(update={"naming": again.naming}))
    return again.naming
