"""Find a model package by name, folder or digest, and keep it where every later worker finds it by digest."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.core.catalog.catalog import Catalog
from services.core.catalog.entries import ModelStage, RegisteredModel
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError, RequestError
from services.core.model.package import ModelPackage, is_digest, load_package, shipped_names, shipped_package
from services.core.model.package_store import fetch_package, write_package_to_store
from services.core.storage import ObjectStore

_DIGEST_START = re.compile(r"[0-9a-f]{8,64}")
_PIN = re.compile(rf"([a-z0-9][a-z0-9.-]*)@({_DIGEST_START.pattern})")
_BRING = "where it is, write: swath models export {:.12} --out FOLDER; and here: swath models add FOLDER"


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """The model packages that one installation knows: shipped, kept under their digest, or lying in a folder."""

    catalog: Catalog
    store: ObjectStore
    cache: Path  #: local folder where packages from the store are kept

    def find(self, name: str) -> ModelPackage:
        """What a user names: a model's name, NAME@DIGEST, a digest or the first 8 digits of one, or a package folder.

        A name means what is in production under it here, else what Swath ships under it; never a candidate, which is
        reached by its digest only. A folder is what has no other meaning: a pin must not depend on where one stands.

        Raises:
            ObjectNotFoundError: None of these.
            PackageError: The folder is not an intact package.
            RequestError: Several digests begin so, or the name is empty.
        """
        if not name:  # as a path it would be the current folder
            raise RequestError("the model's name is empty; name a model, a package folder or a digest")
        if _is_folder(name) and not self._means_package(name):
            return load_package(Path(name))
        return self.known(name)

    def known(self, name: str) -> ModelPackage:
        """The same without folders: what a request names is never looked for on the disk.

        Raises:
            ObjectNotFoundError: Nothing here has this name or digest.
            RequestError: Several digests begin so.
        """
        return self.by_digest(self.known_digest(name))

    def known_digest(self, name: str) -> str:
        """The digest of that package, of which nothing is read.

        Raises:
            ObjectNotFoundError: Nothing here has this name or digest.
            RequestError: Several digests begin so.
        """
        return self.named_digest(name) or _shipped_digest(name) or self.registered(name).digest

    def named_digest(self, name: str) -> str | None:
        """What a name means here: what is in production under it, else what is shipped unless that is retired."""
        stages = Stages(self.catalog)
        promoted = stages.production(name)
        if promoted is not None:
            return promoted.digest
        shipped = shipped_package(name).digest if name in shipped_names() else None
        return None if shipped is None or stages.stage(shipped) == ModelStage.RETIRED else shipped

    def registered(self, name: str) -> RegisteredModel:
        """The catalog's model with this digest or the first 8 digits of it, as NAME@DIGEST or alone, or in production.

        Raises:
            ObjectNotFoundError: There is none.
            RequestError: Several digests begin so.
        """
        promoted = Stages(self.catalog).production(name)
        if promoted is not None:
            return promoted
        pinned = _PIN.fullmatch(name)
        if pinned:
            return self._pinned(*pinned.groups())
        try:
            known = self.catalog.model(name)
        except ObjectNotFoundError as exc:
            if is_digest(name):
                raise ObjectNotFoundError(f"no model {name[:12]} is kept here; {_BRING.format(name)}") from exc
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

    def _pinned(self, name: str, digest: str) -> RegisteredModel:
        missing = ObjectNotFoundError(f"no model {name} {digest[:12]} is kept here; {_BRING.format(digest)}")
        try:
            known = self.catalog.model(digest)
        except ObjectNotFoundError as exc:
            raise missing from exc
        if known.name != name or not known.digest.startswith(digest):
            raise missing
        return known

    def by_digest(self, digest: str) -> ModelPackage:
        """The package with exactly this digest.

        Raises:
            ObjectNotFoundError: The store does not have it.
            PackageError: It is not intact there.
        """
        for name in shipped_names():
            if (package := shipped_package(name)).digest == digest:
                return package
        try:
            return fetch_package(self.store, digest, self.cache)
        except ObjectNotFoundError as exc:
            raise ObjectNotFoundError(
                f"model {self._called(digest)}{digest[:12]} is not in {self.store.uri}; add its folder there again: "
                "swath models add FOLDER"
            ) from exc

    def _called(self, digest: str) -> str:
        """Its name and a space, where the catalog knows it."""
        try:
            return f"{self.catalog.model(digest).name} "
        except ObjectNotFoundError:
            return ""

    def _means_package(self, name: str) -> bool:
        """Whether it means a package, or none, wherever one stands."""
        if name in shipped_names() or is_digest(name) or _PIN.fullmatch(name):
            return True
        if Stages(self.catalog).production(name) is not None:
            return True
        if not _DIGEST_START.fullmatch(name):
            return False
        try:
            return bool(self.known_digest(name))
        except ObjectNotFoundError:
            return False

    def keep(self, package: ModelPackage, *, thorough: bool = False) -> None:
        """Put a package where every later worker finds it by digest: object first, row after.

        What is damaged there is made good: what has another size, or, if `thorough`, other bytes.
        """
        href = write_package_to_store(package, self.store, thorough=thorough)
        contract = package.contract
        self.catalog.add_model(
            RegisteredModel(
                digest=package.digest,
                name=contract.name,
                kind=contract.kind,
                href=href,
                created_at=datetime.now(UTC),
                contract=contract.model_dump(mode="json"),
            )
        )


def _is_folder(name: str) -> bool:
    """Whether such a folder is here; a name too long for one is none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _shipped_digest(wanted: str) -> str | None:
    """Of the shipped package whose digest is or begins so, as NAME@DIGEST or alone."""
    name, _, start = wanted.rpartition("@")
    for package in map(shipped_package, shipped_names() if _DIGEST_START.fullmatch(start) else ()):
        if package.digest.startswith(start) and name in ("", package.contract.name):
            return package.digest
    return None
