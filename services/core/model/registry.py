"""Find a model package by name, folder or digest, and keep it where every later worker finds it by digest."""

from datetime import UTC, datetime
from pathlib import Path

from services.core.catalog.catalog import Catalog
from services.core.errors import ObjectNotFoundError
from services.core.model.package import (
    ModelPackage,
    fetch_package,
    load_package,
    shipped_names,
    shipped_package,
    write_package_to_store,
)
from services.core.records import RegisteredModel
from services.core.storage import ObjectStore


def find_package(name: str, *, catalog: Catalog, store: ObjectStore, cache: Path) -> ModelPackage:
    """A shipped name (`brightness`), a folder, or a name or digest the catalog knows.

    Raises:
        ObjectNotFoundError: None of these.
        PackageError: The folder is not an intact package.
    """
    if name in shipped_names():
        return shipped_package(name)
    if Path(name).is_dir():
        return load_package(Path(name))
    try:
        known = catalog.model(name)
    except ObjectNotFoundError as exc:
        raise ObjectNotFoundError(
            f"no model {name}: it is no folder, and known are {', '.join(shipped_names())}; see `swath models`"
        ) from exc
    return package_by_digest(known.digest, store=store, cache=cache)


def package_by_digest(digest: str, *, store: ObjectStore, cache: Path) -> ModelPackage:
    """The package with exactly this digest."""
    for name in shipped_names():
        if (package := shipped_package(name)).digest == digest:
            return package
    return fetch_package(store, digest, cache)


def keep_package(package: ModelPackage, *, catalog: Catalog, store: ObjectStore) -> None:
    """Object first, row after; a package that is already there is left alone."""
    href = write_package_to_store(package, store)
    contract = package.contract
    catalog.add_model(
        RegisteredModel(
            digest=package.digest,
            name=contract.name,
            kind=contract.kind,
            href=href,
            created_at=datetime.now(UTC),
            contract=contract.model_dump(mode="json"),
        )
    )
