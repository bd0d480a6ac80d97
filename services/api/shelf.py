"""Packages, and networks for windows of scenes: read or opened when first asked for, a few kept."""

import threading
from collections import OrderedDict

from services.core.errors import ObjectNotFoundError, RequestError
from services.core.model.backends import Backend, open_configured
from services.core.model.package import ModelPackage, shipped_names
from services.core.site import Site

#: A network holds tens of megabytes; whoever asks for a third model waits for it to be opened again.
_KEPT = 2
#: A package without its files, which are checked whenever they are read, takes a few kilobytes.
_KEPT_PACKAGES = 64


class Shelf:
    """Packages and their networks by digest. Safe to share between threads."""

    def __init__(self, site: Site, *, threads: int) -> None:
        self._site = site
        self._threads = threads
        self._packages: OrderedDict[str, ModelPackage] = OrderedDict()
        self._keeping = threading.Lock()
        self._open: OrderedDict[str, Backend] = OrderedDict()
        self._opening = threading.Lock()

    def package(self, name: str) -> ModelPackage:
        """The package with this name or digest; never a folder, and no beginning of a digest.

        Raises:
            ObjectNotFoundError: There is none.
            PackageError: Its files are damaged.
        """
        registry = self._site.models
        try:
            digest = registry.known_digest(name)
            package = self._packages.get(digest) or registry.by_digest(digest)
        except (ObjectNotFoundError, RequestError) as exc:  # in the command line's words
            raise _unknown(name) from exc
        if name not in (package.contract.name, package.digest):
            raise _unknown(name)
        self._keep(package)
        return package

    def _keep(self, package: ModelPackage) -> None:
        with self._keeping:
            self._packages[package.digest] = package
            self._packages.move_to_end(package.digest)
            if len(self._packages) > _KEPT_PACKAGES:
                self._packages.popitem(last=False)

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


def _unknown(name: str) -> ObjectNotFoundError:
    if name in shipped_names():
        return ObjectNotFoundError(f"model {name!r} is retired here; name a digest of GET /models")
    return ObjectNotFoundError(f"no model {name!r} here; see GET /models")
