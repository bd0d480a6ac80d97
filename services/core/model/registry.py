"""Find a model package by name, folder or digest, and keep it where every later worker finds it by digest."""

import re
from datetime import UTC, datetime
from pathlib import Path

from services.core.catalog.catalog import Catalog
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError, RequestError
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

_DIGEST_START = re.compile(r"[0-9a-f]{8,64}")


def find_package(name: str, *, catalog: Catalog, store: ObjectStore, cache: Path) -> ModelPackage:
    """What a user names: a model's name, a package folder, or a digest or the first 8 digits of one.

    A name means what is in production under it here, else what Swath ships under it; never a candidate, which is
    reached by its digest only.

    Raises:
        ObjectNotFoundError: None of these.
        PackageError: The folder is not an intact package.
        RequestError: Several digests begin so.
    """
    if Path(name).is_dir() and name not in shipped_names() and Stages(catalog).production(name) is None:
        return load_package(Path(name))
    return known_package(name, catalog=catalog, store=store, cache=cache)


def known_package(name: str, *, catalog: Catalog, store: ObjectStore, cache: Path) -> ModelPackage:
    """The same without folders: what a request names is never looked for on the disk.

    Raises:
        ObjectNotFoundError: Nothing here has this name or digest.
        RequestError: Several digests begin so.
    """
    promoted = Stages(catalog).production(name)
    if promoted is not None:
        return package_by_digest(promoted.digest, store=store, cache=cache)
    if name in shipped_names():
        return shipped_package(name)
    if _DIGEST_START.fullmatch(name):
        shipped = [package for package in map(shipped_package, shipped_names()) if package.digest.startswith(name)]
        if shipped:
            return shipped[0]
    return package_by_digest(find_registered(name, catalog).digest, store=store, cache=cache)


def find_registered(name: str, catalog: Catalog) -> RegisteredModel:
    """The catalog's model with this digest, or the first 8 or more digits of it, or in production under this name.

    Raises:
        ObjectNotFoundError: There is none.
        RequestError: Several digests begin so.
    """
    promoted = Stages(catalog).production(name)
    if promoted is not None:
        return promoted
    try:
        known = catalog.model(name)
    except ObjectNotFoundError as exc:
        raise ObjectNotFoundError(
            f"no model {name}: it is no folder, and known are {', '.join(shipped_names())}; see `swath models`"
        ) from exc
    if known.name == name:
        raise ObjectNotFoundError(
            f"no model {name} is in production here; name a digest, such as {known.digest[:12]}, or promote one"
        )
    if not _DIGEST_START.fullmatch(name):
        raise RequestError(f"model {name} is too short to be a digest; write 8 or more of its digits")
    return known


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
