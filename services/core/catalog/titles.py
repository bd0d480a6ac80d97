"""Scenes by what their makers call them: a STAC item's id, a file's name."""

from sqlalchemy import select

from services.core.catalog.catalog import Catalog
from services.core.catalog.rows import clean
from services.core.catalog.tables import scenes
from services.core.errors import ObjectNotFoundError
from services.core.records import Scene


def scene_titled(catalog: Catalog, title: str) -> Scene:
    """The newest scene with exactly this title, which is the item's id where a STAC item was ingested.

    Raises:
        ObjectNotFoundError: There is none.
    """
    newest = (
        select(scenes.c.record)
        .where(scenes.c.title == clean(title))
        .order_by(scenes.c.created_at.desc(), scenes.c.id.desc())
        .limit(1)
    )
    record = catalog.database.read(lambda conn: conn.execute(newest).scalar_one_or_none())
    if record is None:
        raise ObjectNotFoundError(
            f"no scene of item {title[:80]!r} in the catalog; ingest it first with `swath ingest`"
        )
    return Scene.model_validate(record)
