"""The model that answers `/predict`: loaded, warmed, and exchanged for the promoted one without losing a request."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from services.api.answer_json import AnswerTemplate
from services.api.aside import Aside
from services.api.batcher import Batcher, QueueLimits
from services.api.images import PictureRules
from services.api.metrics import Metrics
from services.api.refusals import BusyError
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.errors import ContractError
from services.core.log import get_logger
from services.core.model.backends import Backend, open_configured
from services.core.model.package import ModelPackage
from services.core.site import Site

log = get_logger(__name__)

#: Images that are decoded beside the loop, and held until they are answered, at a time: so memory is bounded.
_PICTURES_AT_ONCE = 2
_PICTURES_BUSY = "images that take long to read keep this service busy; send it again in a moment"
_LOADING_BUSY = "another look at the catalog, or another model being loaded, has not ended"
#: Of the time a request may take: when no place is free until then, the caller is told so.
_PATIENCE = 1 / 3
#: A promoted model that could not be loaded is tried again, each time after twice as long, up to the last.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 10.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model in service. A request keeps the one it began with, whatever is promoted meanwhile."""

    package: ModelPackage
    stage: str | None  #: in the catalog; None: never added there
    backend: Backend
    batcher: Batcher
    pictures: PictureRules
    template: AnswerTemplate


@dataclass(frozen=True, slots=True)
class _Failed:
    """A promoted model that could not be loaded."""

    digest: str
    wait_s: float
    again_s: float  #: on the monotonic clock


class Runtime:
    """Holds what is served and looks for what is promoted. Used from the event loop; models load on a thread."""

    def __init__(self, site: Site, metrics: Metrics, *, threads: int) -> None:
        self.draining = False
        self.state = "loading"
        self._site = site
        self._metrics = metrics
        self._threads = threads
        self._served: Served | None = None
        self._failed: _Failed | None = None
        self._watch: asyncio.Task[None] | None = None
        patience_s = site.settings.api_timeout_s * _PATIENCE
        self.pictures = Aside(_PICTURES_AT_ONCE, patience_s=patience_s, busy=_PICTURES_BUSY)
        #: Looks into the catalog and loads models: whatever images do, promotions are seen.
        self._loading = Aside(1, patience_s=patience_s, busy=_LOADING_BUSY)

    @property
    def served(self) -> Served:
        """What answers now.

        Raises:
            BusyError: Nothing yet.
        """
        if self._served is None:
            raise BusyError("the model is being loaded; ask again in a moment")
        return self._served

    async def start(self) -> None:
        """Load and warm the model; from then on, look for promotions. Again, does nothing.

        Raises:
            SwathError: There is no such model, or it cannot answer for images.
        """
        if self._served is not None:
            return
        self._take(await self._loading.run(self._load_first))
        self._watch = asyncio.create_task(self._look_for_promotions())

    async def stop(self) -> None:
        """Look no longer; requests are answered by now."""
        self.draining = True
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch

    def _load_first(self) -> Served:
        digest = self._site.models.named_digest(self._site.settings.api_model)
        if digest is not None:
            return self._load(digest)
        package = self._site.models.find(self._site.settings.api_model)
        return self._open(package, stage=self._stage(package.digest))

    def _stage(self, digest: str) -> str | None:
        stage = Stages(self._site.catalog).stage(digest)
        return None if stage is None else stage.value

    def _load(self, digest: str) -> Served:
        return self._open(self._site.models.by_digest(digest), stage=self._stage(digest))

    def _open(self, package: ModelPackage, *, stage: str | None) -> Served:
        settings, contract = self._site.settings, package.contract
        if contract.kind != "classification":
            raise ContractError(
                f"model {contract.name} is for {contract.kind}: /predict answers with one class for an image, "
                "so set SWATH_API_MODEL to a classification model, and map scenes with this one"
            )
        backend = open_configured(package, settings, threads=self._threads)  # makes the first call, so it is warm
        limits = QueueLimits(chips=settings.api_queue_chips, wait_s=settings.api_max_wait_ms / 1000)
        return Served(
            package=package,
            stage=stage,
            backend=backend,
            batcher=Batcher(backend, contract, threads=self._threads, limits=limits, metrics=self._metrics),
            pictures=PictureRules(contract),
            template=AnswerTemplate(contract, digest=package.digest, stage=stage),
        )

    def _take(self, served: Served) -> None:
        """From here on, new requests get this one; the old one goes when its last request is answered."""
        package = served.package
        self._served = served
        self.state = "ok"
        self._metrics.serve(name=package.contract.name, digest=package.digest, backend=served.backend.id)
        log.info("model in service", model=package.contract.name, digest=package.digest, backend=served.backend.id)

    async def _look_for_promotions(self) -> None:
        while True:
            await asyncio.sleep(self._site.settings.api_poll_s)
            try:
                digest, stage = await self._loading.run(self._look)
                if digest != self.served.package.digest:
                    await self._swap(digest)
                elif stage != self.served.stage:
                    self._relabel(stage)
            except Exception as exc:  # noqa: BLE001  # whatever it was, the next promotion must be seen
                log.warning("promotions not looked up", error=str(exc), kind=type(exc).__name__)

    def _look(self) -> tuple[str, str | None]:
        """Digest and stage of what should be served. A name that means nothing any more leaves what is served."""
        digest = self._site.models.named_digest(self._site.settings.api_model) or self.served.package.digest
        return digest, self._stage(digest)

    def _relabel(self, stage: str | None) -> None:
        """The same model in another stage: what was retired must not go on as the one in production."""
        served = self.served
        template = AnswerTemplate(served.package.contract, digest=served.package.digest, stage=stage)
        self._served = replace(served, stage=stage, template=template)
        if stage == ModelStage.RETIRED:
            log.warning("the model in service is retired, and nothing replaces it", digest=served.package.digest)

    async def _swap(self, digest: str) -> None:
        """Load the new model beside the old one; one that cannot be loaded leaves the old one in service for now."""
        failed = self._failed if self._failed is not None and self._failed.digest == digest else None
        if failed is not None and time.monotonic() < failed.again_s:
            return
        try:
            served = await self._loading.run(lambda: self._load(digest))
        except Exception as exc:  # noqa: BLE001  # a full disk or a bug: the old one stays in any case
            wait_s = _FIRST_WAIT_S if failed is None else min(2 * failed.wait_s, _LONGEST_WAIT_S)
            self._failed = _Failed(digest, wait_s, time.monotonic() + wait_s)
            self._metrics.swap_failures.inc()
            told = {"digest": digest, "error": str(exc), "kind": type(exc).__name__, "again_in_s": wait_s}
            log.error("promoted model not loaded, the old one stays", **told)  # noqa: TRY400
            return
        self._failed = None
        self._metrics.swaps.inc()
        self._take(served)
