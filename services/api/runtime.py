"""The model that answers `/predict`: loaded, warmed, and exchanged for the promoted one without losing a request."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from services.api.answer_json import AnswerTemplate
from services.api.batcher import Batcher, QueueLimits
from services.api.images import PictureRules
from services.api.metrics import Metrics
from services.api.refusals import BusyError
from services.core.catalog.stages import Stages
from services.core.errors import ContractError, SwathError
from services.core.log import get_logger
from services.core.model.backends import Backend, open_configured
from services.core.model.package import ModelPackage
from services.core.site import Site

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model in service. A request keeps the one it began with, whatever is promoted meanwhile."""

    package: ModelPackage
    backend: Backend
    batcher: Batcher
    pictures: PictureRules
    template: AnswerTemplate


def promoted_digest(site: Site, name: str) -> str | None:
    """The digest that the catalog says is in production under this name; None: it says nothing."""
    model = Stages(site.catalog).production(name)
    return None if model is None else model.digest


class Runtime:
    """Holds what is served and looks for what is promoted. Used from the event loop; models load on a thread."""

    def __init__(self, site: Site, metrics: Metrics, *, threads: int) -> None:
        self.draining = False
        self.state = "loading"
        self._site = site
        self._metrics = metrics
        self._threads = threads
        self._served: Served | None = None
        self._refused: str | None = None  #: digest that could not be loaded: said once, not every few seconds
        self._watch: asyncio.Task[None] | None = None
        #: Decodes what would hold up the loop, and looks into the catalog.
        self.aside = ThreadPoolExecutor(max_workers=2, thread_name_prefix="aside")
        self.aside_slots = asyncio.Semaphore(2)

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
        loop = asyncio.get_running_loop()
        self._take(await loop.run_in_executor(self.aside, self._load_first))
        self._watch = asyncio.create_task(self._look_for_promotions())

    async def stop(self) -> None:
        """Look no longer; requests are answered by now."""
        self.draining = True
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        self.aside.shutdown(wait=False, cancel_futures=True)

    def _load_first(self) -> Served:
        site, name = self._site, self._site.settings.api_model
        digest = promoted_digest(site, name)
        if digest is not None:
            return self._load(digest)
        package = site.models.find(name)
        return self._open(package, stage=None)

    def _load(self, digest: str) -> Served:
        package = self._site.models.by_digest(digest)
        return self._open(package, stage="production")

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
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._site.settings.api_poll_s)
            try:
                digest = await loop.run_in_executor(
                    self.aside, promoted_digest, self._site, self._site.settings.api_model
                )
            except SwathError as exc:
                log.warning("promotions not looked up", error=str(exc))
                continue
            if digest not in {None, self.served.package.digest, self._refused}:
                await self._swap(str(digest))

    async def _swap(self, digest: str) -> None:
        """Load the new model beside the old one; one that cannot be loaded leaves the old one in service."""
        try:
            served = await asyncio.get_running_loop().run_in_executor(self.aside, self._load, digest)
        except SwathError as exc:
            self._refused = digest
            self._metrics.swap_failures.inc()
            log.error("promoted model refused, the old one stays", digest=digest, error=str(exc))  # noqa: TRY400
            return
        self._refused = None
        self._metrics.swaps.inc()
        self._take(served)
