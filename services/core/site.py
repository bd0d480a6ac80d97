"""One installation, wired: settings become a store, a catalog and a ledger. Entry points call this, nobody else."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.ledger import Ledger
from services.core.errors import ConfigError, RequestError, StorageRefusedError
from services.core.settings import Settings
from services.core.storage import ObjectStore, open_store
from services.core.storage.files import local_errors

if TYPE_CHECKING:
    from services.core.model.registry import ModelRegistry


@dataclass(frozen=True, slots=True)
class Site:
    """What a run needs of the place it runs in."""

    settings: Settings
    store: ObjectStore
    catalog: Catalog
    ledger: Ledger

    @property
    def scratch(self) -> Path:
        """Local folder for temporary files; made here.

        Raises:
            StorageRefusedError: It cannot be made or written.
        """
        return make_scratch(self.settings)

    @property
    def models(self) -> "ModelRegistry":
        """The model packages known here."""
        from services.core.model.registry import ModelRegistry  # most commands need none

        return ModelRegistry(self.catalog, self.store, self.scratch / "models")

    def close(self) -> None:
        """Let go of the database."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_site(settings: Settings) -> Site:
    """Open store and catalog.

    Raises:
        ConfigError: A setting is wrong.
        RetryableError: Store or database does not answer.
    """
    store = open_own_store(settings)
    catalog = open_catalog(settings.catalog_url, patience_s=settings.database_patience_s)
    return Site(settings, store, catalog, Ledger(catalog, lease_s=settings.lease_s))


def open_own_store(settings: Settings) -> ObjectStore:
    """The installation's own store.

    Raises:
        ConfigError: `SWATH_STORE` names none.
    """
    try:
        return open_store(settings.store_uri, settings)
    except RequestError as exc:
        raise ConfigError(f"setting SWATH_STORE is wrong: {exc}") from exc


def make_scratch(settings: Settings) -> Path:
    """The folder for temporary files, made if it is not there.

    Raises:
        StorageRefusedError: It cannot be made or written.
    """
    folder = settings.scratch_path
    with local_errors(str(folder), writing=True):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # so that nobody who writes there later has to ask
        raise StorageRefusedError(
            f"{folder} cannot be written; check its owner and mount options, or set SWATH_SCRATCH"
        )
    return folder
