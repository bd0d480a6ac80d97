"""`swath serve`: the online service on this installation, and the runs that it starts."""

import os
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from services.api.options import ApiOptions
from services.api.refusals import BusyError
from services.api.runtime import Served
from services.api.server import serve
from services.cli.output import print_json, say
from services.core.boxes import BBox
from services.core.errors import SwathError
from services.core.log import configure_logging, get_logger
from services.core.records import Run, RunState
from services.core.settings import load_settings
from services.core.site import Site, open_site
from services.core.worker import worker_alive
from services.inference.plan import Choice, plan_scene

log = get_logger(__name__)

_PATIENCE_S = 10
_LAST_WORD_S = 2  #: for what is to be written down of a worker that was killed


def serve_command(*, port: int | None, host: str | None, model: str | None, as_json: bool) -> int:
    """Serve until a signal; the arguments beat the settings."""
    settings = load_settings(api_port=port, api_host=host, api_model=model)
    configure_logging(settings.log_level)

    def announce(url: str, served: Served) -> None:
        name, digest = served.package.contract.name, served.package.digest
        if as_json:
            print_json({"url": url, "model": name, "digest": digest, "backend": served.backend.id, "pid": os.getpid()})
        else:
            say(f" answers with {name} ({digest[:12]}); API at {url}/docs", lead=url)

    with open_site(settings) as site, RunStarter(site) as starter:
        serve(site, ApiOptions(start_run=starter), announce=announce)
    return 0


class RunStarter:
    """Starts `swath resume RUN` beside the service, one at a time: the machine is the service's first of all."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._child: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._starting = threading.Lock()  #: held while one is planned, which takes a while; requests come on threads

    def __call__(self, *, scene_id: str, model: str, bbox: BBox) -> Run:
        """Plan a run over a window of a scene, and see to it that it is worked on.

        Raises:
            BusyError: One is being worked on, or about to be.
            SwathError: Scene and model do not fit.
        """
        if not self._starting.acquire(blocking=False):
            raise _busy()
        try:
            if self._child is not None and self._child.poll() is None:
                raise _busy()
            run = self._plan(scene_id, model, bbox)
            # -P: the folder that the service was started in is nowhere to import from.
            words = [sys.executable, "-P", "-m", "services.cli", "resume", run.id, "--json"]
            child = subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words, no shell
            self._child, self._watcher = child, threading.Thread(target=self._watch, args=(child, run.id), daemon=True)
            self._watcher.start()
        finally:
            self._starting.release()
        return run

    def _plan(self, scene_id: str, model: str, bbox: BBox) -> Run:
        scene = self._site.catalog.scene(scene_id)
        return plan_scene(self._site, scene, Choice(model=model, bbox=bbox)).run

    def _watch(self, child: "subprocess.Popen[bytes]", run_id: str) -> None:
        """Wait for the worker, and write down for it that the run has failed where it could not."""
        code, ledger = child.wait(), self._site.ledger
        try:
            ledger.release_dead(run_id, worker_alive)
            ended = ledger.run_state(run_id) in {RunState.PUBLISHED, RunState.FAILED}
            if ended or ledger.holders(run_id):  # somebody else took it up
                return
            why = f"its worker ended with {code} before it was done; go on with: swath resume {run_id}"
            ledger.set_state(run_id, RunState.FAILED, error=why)
        except SwathError as exc:
            log.warning("state not recorded", run_id=run_id, error=str(exc))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the run to give its units back; `swath resume` goes on with it. The catalog is open until it has."""
        if self._child is None or self._watcher is None:
            return
        self._child.terminate()
        self._watcher.join(_PATIENCE_S)
        if self._watcher.is_alive():
            self._child.kill()
            self._watcher.join(_LAST_WORD_S)


def _busy() -> BusyError:
    return BusyError("a run that this service started is under way; ask again when GET /runs shows it done")
