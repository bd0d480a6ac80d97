"""Every measurement in a process of its own: clean memory figures, no warm caches of another row, no torch beside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 300


class BenchError(Exception):
    """A measurement failed; the message says which."""


def run_child(module: str, told: Mapping[str, Any], *, python: str = sys.executable) -> dict[str, Any]:
    """Run `python -m tests.bench.<module> <JSON>` and return the JSON object on its last line.

    Raises:
        BenchError: It failed or took too long.
    """
    command = _command(module, told, python)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"{module} took longer than {LONGEST_S} s with {dict(told)}") from exc
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-4000:])
        raise BenchError(f"{module} failed with {dict(told)}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def started_child(module: str, told: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The same without waiting for it; whatever is left of it at the end is killed."""
    child = subprocess.Popen(
        _command(module, told, sys.executable), cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def told() -> dict[str, Any]:
    """In the child: what it was told."""
    answer: dict[str, Any] = json.loads(sys.argv[1])
    return answer


def answer(**facts: Any) -> None:
    """In the child: what it found, with its peak memory."""
    print(json.dumps({**facts, "peak_bytes": peak_bytes()}), flush=True)


def peak_bytes() -> int:
    """High-water mark of this process's resident memory.

    `VmHWM`, because Linux's `ru_maxrss` of a child starts at what its parent held when it was forked.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def interleaved(rounds: int, **measures: Callable[[], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """A, B, C, A, B, C, ...: what slows the machine for a while slows all of them."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def best(found: list[dict[str, Any]], figure: str = "tiles_per_s") -> float:
    """The fastest repetition: noise of a shared machine only ever slows."""
    return max(float(one[figure]) for one in found)


def _command(module: str, told: Mapping[str, Any], python: str) -> list[str]:
    return [python, "-m", f"tests.bench.{module}", json.dumps(told, default=str)]


def _environment() -> dict[str, str]:
    """Ours without the user's settings of Swath or GDAL."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SWATH_", "GDAL_"))}
