"""Ids as programs send them: whole, never the beginning of one, which the command line takes."""

from services.core.catalog.catalog import Catalog
from services.core.errors import ObjectNotFoundError
from services.core.records import Scene

SCENE_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MODEL_ID = r"^[a-z0-9][a-z0-9.-]{0,63}$"  #: name or digest


def scene_exactly(catalog: Catalog, scene_id: str) -> Scene:
    """The scene with this id.

    Raises:
        ObjectNotFoundError: There is none.
    """
    scene = catalog.scene(scene_id)
    if scene.id != scene_id:
        raise ObjectNotFoundError(f"no scene {scene_id!r} in the catalog; see GET /scenes")
    return scene
