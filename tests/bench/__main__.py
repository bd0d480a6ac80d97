"""`python -m tests.bench`: measure, print one table, and write docs/benchmarks.md."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench.api import measure_api
from tests.bench.command import measure_help
from tests.bench.crash import measure_crash
from tests.bench.machine import describe_machine
from tests.bench.memory import measure_memory
from tests.bench.process import ROOT, BenchError, run_child
from tests.bench.report import print_report, write_report
from tests.bench.rows import Finding, Measure, Place, missed
from tests.bench.scenes import source_name
from tests.bench.speed import measure_network, measure_threshold
from tests.bench.training import measure_training

MEASURES: dict[str, Measure] = {
    "network": measure_network,
    "threshold": measure_threshold,
    "memory": measure_memory,
    "crash": measure_crash,
    "help": measure_help,
    "api": measure_api,
    "training": measure_training,
}
#: The peers have an environment of their own: the antlr4 of TorchGeo and that of moto exclude each other.
PEER_PYTHON = ROOT / ".venv-peer" / "bin" / "python"


def main() -> int:
    """Exit code 1 only if something could not be measured; a demand that is missed is said in the table."""
    args = _parse()
    notes = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="swath-bench-", dir=args.scratch) as name:
        folder = Path(name)
        machine = [*describe_machine(folder), f"Pixels of the scenes: {source_name()}."]
        made = run_child("packages", {"folder": folder / "models"})
        place = Place(
            folder=folder,
            models=made["models"],
            backend=made["backend"],
            quick=args.quick,
            peer_python=_peer_python(),
        )
        findings: dict[str, Finding] = {}
        for measure in args.only or MEASURES:
            notes.print(f"measuring {measure} ...", style="dim")
            findings[measure] = _measured(measure, place)
    print_report(findings, machine)
    if args.write:
        write_report(ROOT / "docs" / "benchmarks.md", findings, machine)
    return int(any(line.met is None for finding in findings.values() for line in finding.lines))


def _measured(name: str, place: Place) -> Finding:
    try:
        return MEASURES[name](place)
    except BenchError as exc:
        return Finding(lines=(missed(name, "", str(exc)),))


def _peer_python() -> str | None:
    python = Path(os.environ.get("SWATH_BENCH_PEER_PYTHON") or PEER_PYTHON)
    return str(python) if python.is_file() else None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small scenes, once: only whether it works; writes nothing"
    )
    parser.add_argument("--only", action="append", choices=MEASURES, help="this measurement; may be repeated")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=None, help="docs/benchmarks.md")
    parser.add_argument("--scratch", type=Path, help="folder for scenes (6 GB); default: the system's temporary one")
    args = parser.parse_args()
    if args.write is None:  # part of a table must not take the place of the whole one
        args.write = not args.quick and not args.only
    return args


if __name__ == "__main__":
    sys.exit(main())
