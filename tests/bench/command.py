"""Row of patience: how long `swath --help` takes."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import ROOT, BenchError
from tests.bench.rows import Finding, Line, Place

_TIMES = 10


def measure_help(place: Place) -> Finding:
    """Median wall-clock time of the installed command, after one run that warms the disk."""
    command = Path(sys.executable).with_name("swath")
    if not command.is_file():
        raise BenchError(f"{command} is not installed; run: make setup")
    _once(command)
    times = [_once(command) for _ in range(3 if place.quick else _TIMES)]
    bare = [_once(Path(sys.executable), "-c", "pass") for _ in range(3)]
    median = statistics.median(times)
    line = Line(
        what=f"swath --help, median of {len(times)}",
        must="≤ 0.3 s",
        measured=f"{median:.2f} s (fastest {min(times):.2f} s)",
        peer=f"python -c pass {statistics.median(bare):.2f} s",
        met=median <= 0.3,
    )
    return Finding(lines=(line,))


def _once(command: Path, *arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([command, *(arguments or ["--help"])], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started
