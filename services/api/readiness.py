"""Whether requests should be sent here: the model answers, store and database are reached, and no end is near."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.api.aside import Aside
from services.api.runtime import Runtime
from services.core.errors import SwathError
from services.core.site import Site

_BELIEVED_S = 1.0
_PATIENCE_S = 2.0
_PROBE_KEY = "swath-ready-probe"  #: never written: only whether the store can say so


@dataclass(frozen=True, slots=True)
class Verdict:
    """Each part's own word; `ok` where nothing is wrong with it."""

    parts: dict[str, str]

    @property
    def ready(self) -> bool:
        """Whether all of them are well."""
        return all(said == "ok" for said in self.parts.values())


class Readiness:
    """Looks at store and database at most once a second, each on a thread of its own, whoever asks how often."""

    def __init__(self, site: Site, runtime: Runtime) -> None:
        self._runtime = runtime
        self._probes: dict[str, Callable[[], object]] = {
            "store": lambda: site.store.exists(_PROBE_KEY),
            "database": lambda: site.catalog.models(limit=1),
        }
        self._aside = Aside(len(self._probes), patience_s=_PATIENCE_S, busy="the last look has not ended")
        self._looks: dict[str, asyncio.Task[str]] = {}
        self._looked_at_s = -_BELIEVED_S

    async def judge(self) -> Verdict:
        """What stands now."""
        self._look()
        await asyncio.wait(self._looks.values(), timeout=_PATIENCE_S)
        parts = {"model": self._runtime.state, "drain": "draining" if self._runtime.draining else "ok"}
        for name, look in self._looks.items():
            parts[name] = look.result() if look.done() else f"no answer in {_PATIENCE_S:g} s"
        return Verdict(parts)

    def _look(self) -> None:
        """Begin a new look at whatever was looked at long ago; one that still waits is left to wait."""
        now = time.monotonic()
        if now - self._looked_at_s < _BELIEVED_S:
            return
        self._looked_at_s = now
        for name, probe in self._probes.items():
            if name not in self._looks or self._looks[name].done():
                self._looks[name] = asyncio.create_task(self._say(probe))

    async def _say(self, probe: Callable[[], object]) -> str:
        try:
            await self._aside.run(probe)
        except SwathError as exc:
            return f"failed: {type(exc).__name__}"
        return "ok"
