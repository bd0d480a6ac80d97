"""Real processes of Swath, to be watched, stopped and killed; each test's installation lies in a folder of its own."""

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.core.catalog.catalog import open_catalog
from services.core.catalog.ledger import Ledger
from services.core.records import Run, RunProgress
from services.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        return dict(json.loads(self.out.splitlines()[-1]))

    @property
    def sentence(self) -> str:
        """The only line on stderr."""
        (line,) = self.err.splitlines()
        return line


@dataclass(frozen=True, slots=True)
class Installation:
    """An embedded installation: a home, an out folder, and the environment its processes get."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def swath(self, *words: object, **environment: str) -> Answer:
        """`swath WORDS`, to its end."""
        return finish(self.start("services.cli", *words, **environment))

    def module(self, name: str, *words: object, **environment: str) -> Answer:
        """`python -m NAME WORDS`, to its end."""
        return finish(self.start(name, *words, **environment))

    def run(self, scene: object, *words: object, model: str = "brightness", **environment: str) -> Answer:
        """`swath run SCENE --json`, to its end."""
        return self.swath("run", scene, "--model", model, "--out", self.out, "--json", *words, **environment)

    def shell(self, line: str) -> Answer:
        """A line as a person pastes it into a shell, where `swath` is this source."""
        script = self.folder / "bin" / "swath"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m services.cli "$@"\n')
        script.chmod(0o755)
        variables = self.variables(PATH=f"{script.parent}:{os.environ['PATH']}")
        done = subprocess.run(["sh", "-c", line], cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, module: str, *words: object, **environment: str) -> "subprocess.Popen[str]":
        """A process under way."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=ROOT,
            env=self.variables(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test left under way."""
        for process in self.started:
            if process.poll() is None:
                kill(process)

    def start_run(self, scene: object, *words: object, **environment: str) -> "subprocess.Popen[str]":
        """`swath run SCENE` under way, with the smallest tiles, so that it lasts."""
        options = ("--model", "brightness", "--out", self.out, "--json", "--tile-px", 16, *words)
        return self.start("services.cli", "run", scene, *options, **environment)

    def variables(self, **extra: str) -> dict[str, str]:
        """The environment of its processes: nothing of the developer's own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SWATH_", "AWS_", "PREFECT"))}
        ours = {"SWATH_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}  # the latter for their own children
        return {**kept, **ours, **self.environment, **extra}

    def settings(self) -> Settings:
        """For this process to look at its catalog and store."""
        values = {
            name.removeprefix("SWATH_").lower(): value
            for name, value in self.variables().items()
            if name.startswith("SWATH_")
        }
        return Settings.model_validate(values)

    def last_run(self) -> Run | None:
        """The newest run in the catalog; None: none yet, or no catalog."""
        if not self.environment and not (self.folder / "home" / "swath.db").exists():
            return None
        with open_catalog(self.settings().catalog_url) as catalog:
            return next(iter(catalog.runs(limit=1)), None)

    def progress(self, run_id: str) -> RunProgress:
        """Its counts."""
        with open_catalog(self.settings().catalog_url) as catalog:
            return Ledger(catalog).progress(run_id)

    def wait_for_units(self, process: "subprocess.Popen[str]", count: int) -> str:
        """The id of the run under way, once so many of its units are done."""
        wait_until(lambda: self.last_run() is not None, process)
        run = self.last_run()
        assert run is not None
        wait_until(lambda: self.progress(run.id).units_done >= count, process)
        return run.id

    @contextmanager
    def held_at(self, process: "subprocess.Popen[str]", count: int) -> Iterator[str]:
        """The id of the run under way, once so many of its units are done; while inside, nobody can write the ledger.

        So no run gets away from a test that is slow to look, and no process is stopped while it holds the lock itself.
        """
        database = self.folder / "home" / "swath.db"
        wait_until(database.is_file, process)
        with closing(sqlite3.connect(database, timeout=LIMIT_S, isolation_level=None)) as connection:
            done = f"SELECT 1 WHERE {count} <= (SELECT count(*) FROM units WHERE state = 'done')"
            wait_until(lambda: _held(connection, done), process)
            ((run_id,),) = connection.execute("SELECT id FROM runs").fetchall()
            yield run_id

    def answers(self, answer: Answer) -> dict[str, str]:
        """Digests of the map and the table that a run published; item and manifest tell times and run ids."""
        return answers(Path(answer.json["product"]))

    def products(self) -> list[str]:
        """Whatever lies in the out folder, hidden files included."""
        return sorted(path.name for path in self.out.iterdir()) if self.out.exists() else []

    def forget(self) -> None:
        """Remove everything but the scenes: as if Swath had never run here."""
        shutil.rmtree(self.folder / "home", ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)


def _held(connection: sqlite3.Connection, condition: str) -> bool:
    """Take the lock of the one writer, and keep it if the condition has a row."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute(condition).fetchone() is not None:
            return True
    except sqlite3.OperationalError as exc:
        if "no such table" not in str(exc):  # they are still being made
            raise
    connection.execute("ROLLBACK")
    return False


def finish(process: "subprocess.Popen[str]") -> Answer:
    """Wait for the end, and kill what does not come to one."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    return Answer(process.returncode, out, err)


def kill(process: "subprocess.Popen[str]") -> None:
    """SIGKILL: no handler runs, nothing is given back."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Poll until it is so, as long as the process lives."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            answer = finish(process)
            raise AssertionError(f"ended with {answer.code} before that: {answer.out}{answer.err}")
        time.sleep(0.005)


def answers(product: Path) -> dict[str, str]:
    """Digests of what must not depend on how a run went."""
    names = ("map.tif", "tiles.parquet", "statistics.json")
    return {name: hashlib.sha256((product / name).read_bytes()).hexdigest() for name in names}
