"""From what a user names to a scene the catalog knows, or a refusal that it remembers."""

from collections.abc import Sequence

from services.core.downloads import fetcher
from services.core.errors import PermanentError
from services.core.raster.href import shown_href
from services.core.raster.open import OpenOptions, open_scene
from services.core.records import Scene
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
