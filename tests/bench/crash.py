"""Row of loss: kill -9 in mid-run, resume, and compare with a run that nobody disturbed."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.bench.process import BenchError, run_child, started_child
from tests.bench.rows import Finding, Line, Place
from tests.bench.scenes import Look, write_scene

_PATIENCE_S = 120
#: Files whose bytes must not depend on what happened on the way; item and manifest name the run and its times.
_ANSWERS = ("map.tif", "tiles.parquet")


def measure_crash(place: Place) -> Finding:
    """SIGKILL once a third of the units is done; the ledger tells what was lost and what was computed again."""
    side = 2_560 if place.quick else 5_120
    scene = write_scene(place.folder / "crash.tif", Look(height=side, width=side, dtype="uint16"))
    wish = {"scene": scene, "model": place.models["resnet-uint16"], "settings": place.network_settings}
    whole = run_child("engine", {**wish, "home": place.home("crash")})
    home = place.home("crash")
    run_id, before = _killed({**wish, "home": home}, home / "swath.db", whole["progress"]["units"] // 3)
    resumed = run_child("engine", {**wish, "home": home, "resume": run_id})
    after = _units(home / "swath.db")
    same = all(resumed["files"][name] == whole["files"][name] for name in _ANSWERS)
    begun = [index for index, (state, _) in before.items() if state == "claimed"]
    done = [index for index, (state, _) in before.items() if state == "done"]
    again = len(begun) + sum(after[index] != before[index] for index in done)
    return Finding(
        lines=(
            Line(
                what=f"kill -9 in mid-run, resume, ResNet-18 over {side:,}²: bytes of map.tif and tiles.parquet",
                must="same",
                measured="same" if same else "different",
                peer="an undisturbed run in an installation of its own",
                met=same,
            ),
            Line(
                what="units computed again, per worker",
                must="≤ 1",
                measured=f"{again / whole['workers']:.1f} ({again} units, {whole['workers']} workers)",
                peer=f"ledger at the kill: {len(done)} of {len(before)} done, {len(begun)} begun",
                met=again <= whole["workers"],
            ),
        )
    )


def _killed(wish: dict[str, Any], database: Path, enough: int) -> tuple[str, dict[int, tuple[str, str]]]:
    """The run's id, and its units as the killed process left them."""
    deadline = time.monotonic() + _PATIENCE_S
    with started_child("engine", wish) as child:
        assert child.stdout is not None, "it was piped"
        run_id = child.stdout.readline().strip()
        while sum(state == "done" for state, _ in _units(database).values()) < enough:
            if child.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the run to be killed ended, or never began, before it could be")
            time.sleep(0.01)
        child.kill()
        child.wait()
        if not run_id:
            raise BenchError("the run to be killed did not say its id")
        return run_id, _units(database)


def _units(database: Path) -> dict[int, tuple[str, str]]:
    """Index -> (state, worker) of every unit, straight from the catalog's file: no code of ours in between."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute('SELECT "index", state, worker FROM units').fetchall()
    return {index: (state, worker) for index, state, worker in rows}
