"""`python -m services.tiler SCENE_ID`: the container's entry point. Arguments, wiring, exit code."""

import argparse
import sys

from services.core.errors import SwathError
from services.core.log import bind, configure_logging, get_logger
from services.core.settings import load_settings
from services.core.site import open_site
from services.tiler.prepare import prepare_scene


def main(argv: list[str] | None = None) -> int:
    """Prepare one registered scene; the exit code follows the error class."""
    parser = argparse.ArgumentParser(prog="python -m services.tiler", description=__doc__)
    parser.add_argument("scene", help="id of a registered scene; see `swath ingest`")
    parser.add_argument("--tile-px", type=int, default=256, help="side of a tile in the index")
    args = parser.parse_args(argv)
    log = get_logger(__name__)
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        with open_site(settings) as site:
            scene = site.catalog.scene(args.scene)
            bind(scene_id=scene.id)
            prepare_scene(site, scene, tile_px=args.tile_px)
    except SwathError as exc:
        log.error("stopped", error=str(exc), kind=type(exc).__name__)  # noqa: TRY400  # one sentence, not a traceback
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
