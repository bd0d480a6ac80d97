"""Networks for windows of scenes: opened when first asked for, a few kept."""

import threading
from collections import OrderedDict

from services.api.models import known_package
from services.core.model.backends import Backend, open_configured
from services.core.model.package import ModelPackage
from services.core.site import Site

#: A network holds tens of megabytes; whoever asks for a third model waits for it to be opened again.
_KEPT = 2


class Shelf:
    """Packages by name, and their networks by digest. Safe to share between threads."""

    def __init__(self, site: Site, *, threads: int) -> None:
        self._site = site
        self._threads = threads
        self._open: OrderedDict[str, Backend] = OrderedDict()
        self._opening = threading.Lock()

    def package(self, name: str) -> ModelPackage:
        """The package of a name or digest that this site knows; never a folder.

        Raises:
            ObjectNotFoundError: None such.
        """
        return known_package(self._site, name)

    def backend(self, package: ModelPackage) -> Backend | None:
        """Its network; None for a threshold, which needs none.

        Raises:
            BackendUnavailableError: No library here runs it.
        """
        if package.contract.kind == "threshold":
            return None
        with self._opening:  # two at once would open it twice, and measure each other
            backend = self._open.pop(package.digest, None) or open_configured(
                package, self._site.settings, threads=self._threads
            )
            self._open[package.digest] = backend
            if len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return backend
