"""`python -m services.inference shard|assemble`: the container's entry point. Arguments, wiring, exit code."""

import argparse
import sys
from typing import TYPE_CHECKING

from services.core.entry_point import ArgumentParser, run_entry_point

if TYPE_CHECKING:
    from services.core.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Run one shard or assemble a run; the exit code follows the error class."""
    args = _parse(argv)
    return run_entry_point(__name__, lambda settings: _step(settings, args))


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
    shard = steps.add_parser("shard", help="compute one shard of a run's units")
    shard.add_argument("--run", required=True)
    shard.add_argument("--index", type=int, default=None, help="default: the pod's index in its Job")
    shard.add_argument("--count", type=int, default=1)
    steps.add_parser("assemble", help="publish a run whose units are done").add_argument("--run", required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
