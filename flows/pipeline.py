"""`python -m flows.pipeline SCENE... --model MODEL`: ingest → tile → infer → publish over many scenes, in Prefect.

It runs with no server: Prefect's own ephemeral API is enough. A scene that fails never stops the others.
"""

import argparse
import json
import signal
import sys
from typing import Any

from services.core.boxes import parse_bbox
from services.core.entry_point import ArgumentParser, worst_code
from services.core.errors import RetryableError, SwathError
from services.core.extras import not_installed
from services.core.log import configure_logging
from services.core.settings import load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the flow in this process; the exit code is that of the scene that went worst."""
    parser = ArgumentParser(prog="python -m flows.pipeline", description=__doc__)
    parser.add_argument("scenes", nargs="+", metavar="SCENE")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", default=None, help="folder or s3:// prefix; default: products in SWATH_HOME")
    parser.add_argument("--tile-px", type=int, default=None)
    parser.add_argument("--gsd", type=float, default=None, help="pixel size in metres; default: the scene's")
    parser.add_argument("--bbox", default=None, help="map this part only: west,south,east,north in degrees")
    args = parser.parse_args(argv)
    before = signal.signal(signal.SIGTERM, _interrupt)  # the default would leave Prefect's server behind
    try:
        rows = _make_maps(args)
    except SwathError as exc:
        sys.stderr.write(f"swath: {exc}\n")
        return exc.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("swath: stopped; what is finished is kept\n")
        return RetryableError.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    return worst_code(row["exit_code"] for row in rows)


def _make_maps(args: argparse.Namespace) -> list[dict[str, Any]]:
    settings = load_settings()
    request = {"tile_px": args.tile_px, "gsd_m": args.gsd, "bbox": parse_bbox(args.bbox)}
    configure_logging(settings.log_level)
    try:
        from flows.maps import make_maps
    except ModuleNotFoundError as exc:
        raise not_installed(exc) or exc from exc
    from services.inference.runs import resolve_out

    return make_maps(args.scenes, args.model, resolve_out(args.out, settings), request)


def _interrupt(_number: int, _frame: object) -> None:
    """SIGTERM as Ctrl-C: what was begun is ended in order."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
