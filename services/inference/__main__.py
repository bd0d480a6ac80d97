"""`python -m services.inference plan|shard|assemble`: the container's entry point. Arguments, wiring, exit code."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from services.core.entry_point import ArgumentParser, run_entry_point

if TYPE_CHECKING:
    from services.core.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Plan a run, compute one shard of it, or assemble it; the exit code follows the error class."""
    args = _parse(argv)
    step = _plan if args.step == "plan" else _step
    return run_entry_point(__name__, lambda settings: step(settings, args))


def _plan(settings: "Settings", args: argparse.Namespace) -> None:
    from services.core.boxes import parse_bbox
    from services.core.site import open_site
    from services.inference.plan import Choice, plan_for_shards

    bbox = parse_bbox(args.bbox)
    choice = Choice(model=args.model, out=args.out, tile_px=args.tile_px, gsd_m=args.gsd, bbox=bbox)
    with open_site(settings) as site:
        task = plan_for_shards(site, args.scene, choice)
        progress = site.ledger.progress(task.run.id)
        told = {"run_id": task.run.id, "units": progress.units, "units_done": progress.units_done, "out": task.run.out}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _step(settings: "Settings", args: argparse.Namespace) -> None:
    from services.core.log import get_logger
    from services.core.settings import pod_index
    from services.core.signals import stop_on_signals
    from services.core.site import open_site
    from services.inference.assembly import finish
    from services.inference.runs import check_sources, failing, plan_shard, take_up, work

    log = get_logger(__name__)
    with open_site(settings) as site, stop_on_signals() as stop:
        task = take_up(site, args.run)
        with failing(site, task.run.id):
            if args.step == "shard":
                check_sources(site, task)
                units = site.ledger.progress(task.run.id).units
                index = pod_index() if args.index is None else args.index
                indices = plan_shard(units, index=index, count=args.count)
                work(site, task, stop=stop, indices=indices)
                log.info("shard finished", units=len(indices))
            else:
                outcome = finish(site, task, stop=stop)
                log.info("run published", product=outcome.product.href, **outcome.progress.model_dump())


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m services.inference", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    plan = steps.add_parser("plan", help="register a run and its units, for shards to compute; tells its id as JSON")
    plan.add_argument("scene", help="id of a registered scene, or what `swath run` takes: path, folder, URL, STAC item")
    plan.add_argument("--model", required=True, help="name, NAME@DIGEST, digest or package folder")
    plan.add_argument("--out", default=None, help="folder or s3:// prefix that receives <run id>/")
    plan.add_argument("--tile-px", type=int, default=None, help="side of a tile in pixels")
    plan.add_argument("--gsd", type=float, default=None, help="resample to pixels of this many metres first")
    plan.add_argument("--bbox", default=None, help="this part only: west,south,east,north in degrees")
    shard = steps.add_parser("shard", help="compute one shard of a run's units")
    shard.add_argument("--run", required=True)
    shard.add_argument("--index", type=int, default=None, help="default: the pod's index in its Job")
    shard.add_argument("--count", type=int, default=1)
    steps.add_parser("assemble", help="publish a run whose units are done").add_argument("--run", required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
