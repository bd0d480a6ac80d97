"""One installation, wired: settings become a store, a catalog and a ledger. Entry points call this, nobody else."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.ledger import Ledger
from services.core.errors import ConfigError, RequestError
from services.core.settings import Settings
from services.core.storage import ObjectStore, open_store

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
        """Local folder for temporary files; made here."""
        self.settings.scratch_path.mkdir(parents=True, exist_ok=True)
        return self.settings.scratch_path

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
    try:
        store = open_store(settings.store_uri, settings)
    except RequestError as exc:
        raise ConfigError(f"setting SWATH_STORE is wrong: {exc}") from exc
    catalog = open_catalog(settings.catalog_url, patience_s=settings.database_patience_s)
    return Site(settings, store, catalog, Ledger(catalog, lease_s=settings.lease_s))
