"""`python -m services.inference shard|assemble`: the container's entry point. Arguments, wiring, exit code."""

import argparse
import sys

from services.core.errors import SwathError
from services.core.log import configure_logging, get_logger
from services.core.settings import load_settings, pod_index
from services.core.signals import stop_on_signals
from services.core.site import open_site
from services.inference.assembly import finish
from services.inference.runs import check_sources, failing, plan_shard, take_up, work


def main(argv: list[str] | None = None) -> int:
    """Run one shard or assemble a run; the exit code follows the error class."""
    args = _parse(argv)
    log = get_logger(__name__)
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        with open_site(settings) as site, stop_on_signals() as stop:
            task = take_up(site, args.run)
            with failing(site, task.run.id):
                if args.step == "shard":
                    check_sources(task)
                    units = site.ledger.progress(task.run.id).units
                    indices = plan_shard(units, index=args.index, count=args.count)
                    work(site, task, stop=stop, indices=indices)
                    log.info("shard finished", units=len(indices))
                else:
                    outcome = finish(site, task, stop=stop)
                    log.info("run published", product=outcome.product.href, **outcome.progress.model_dump())
    except SwathError as exc:
        log.error("stopped", error=str(exc), kind=type(exc).__name__)  # noqa: TRY400  # one sentence, not a traceback
        return exc.exit_code
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.inference", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    shard = steps.add_parser("shard", help="compute one shard of a run's units")
    shard.add_argument("--run", required=True)
    shard.add_argument("--index", type=int, default=pod_index(), help="default: the pod's index in its Job")
    shard.add_argument("--count", type=int, default=1)
    steps.add_parser("assemble", help="publish a run whose units are done").add_argument("--run", required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
