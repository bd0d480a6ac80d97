"""`python -m services.tiler SCENE_ID`: the container's entry point. Arguments, wiring, exit code."""

import sys
from typing import TYPE_CHECKING

from services.core.entry_point import ArgumentParser, run_entry_point

if TYPE_CHECKING:
    from services.core.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Prepare one registered scene; the exit code follows the error class."""
    parser = ArgumentParser(prog="python -m services.tiler", description=__doc__)
    parser.add_argument("scene", help="id of a registered scene; see `swath ingest`")
    parser.add_argument("--tile-px", type=int, default=256, help="side of a tile in the index")
    args = parser.parse_args(argv)
    return run_entry_point(__name__, lambda settings: _prepare(settings, args.scene, tile_px=args.tile_px))


def _prepare(settings: "Settings", scene_id: str, *, tile_px: int) -> None:
    from services.core.log import bind
    from services.core.site import open_site
    from services.tiler.prepare import prepare_scene

    with open_site(settings) as site:
        scene = site.catalog.scene(scene_id)
        bind(scene_id=scene.id)
        prepare_scene(site, scene, tile_px=tile_px)


if __name__ == "__main__":
    sys.exit(main())
