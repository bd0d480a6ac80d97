"""Model packages in the object store, each in the folder of its digest; fetched ones are kept on disk."""

import hashlib
import shutil
from pathlib import Path

from services.core.errors import ObjectNotFoundError, PackageError
from services.core.model.package import ModelPackage, is_digest, load_package
from services.core.model.package_files import size_limit
from services.core.model.package_save import save_package
from services.core.names import model_key
from services.core.storage import ObjectStore


def write_package_to_store(package: ModelPackage, store: ObjectStore, *, thorough: bool = False) -> str:
    """Copy every file to `models/<digest>/`, model.json last; one that is there already is left alone.

    Args:
        package: Which.
        store: Where to.
        thorough: Believe what is there by its digest alone, and remove strangers, instead of believing its size.

    Returns:
        The URI of that folder.
    """
    folder = model_key(package.digest, "")
    for name in sorted(package.files, key=lambda name: (name == "model.json", name)):
        if not _is_stored(package, name, store, thorough=thorough):
            store.put(folder + name, package.read(name))
    for key in list(store.list(folder)) if thorough else ():
        if key.removeprefix(folder) not in package.files:
            store.delete(key)
    return f"{store.uri}/{folder.removesuffix('/')}"


def _is_stored(package: ModelPackage, name: str, store: ObjectStore, *, thorough: bool) -> bool:
    key = model_key(package.digest, name)
    try:
        if store.size(key) != package.sizes[name]:
            return False
        return not thorough or hashlib.sha256(store.get(key)).hexdigest() == package.files[name]
    except ObjectNotFoundError:
        return False


def fetch_package(store: ObjectStore, digest: str, cache_dir: Path) -> ModelPackage:
    """The package with this digest, from the local cache or else from the store; checked either way.

    A cached copy that was damaged is fetched anew.

    Raises:
        ObjectNotFoundError: The store has no such package.
        PackageError: What the store holds is not that package.
    """
    if not is_digest(digest):
        raise ObjectNotFoundError(f"{digest[:80]!r} is not a model digest of 64 hexadecimal digits")
    target = cache_dir / digest
    if target.is_dir():
        try:
            return load_package(target, digest=digest)
        except (PackageError, ObjectNotFoundError, OSError):  # damaged, or being removed by somebody who found it so
            shutil.rmtree(target, ignore_errors=True)
    folder = model_key(digest, "")
    names = [key.removeprefix(folder) for key in store.list(folder)]
    if "model.json" not in names:
        raise ObjectNotFoundError(f"no model {digest[:12]} in {store.uri}")
    for name in names:
        _check_store_object(store, folder, name)
    package = save_package(target, {name: store.get(folder + name) for name in names})
    if package.digest != digest:
        shutil.rmtree(target)
        raise PackageError(f"{store.uri}/{folder} holds {package.digest[:12]}; its files were changed, add it again")
    return package


def _check_store_object(store: ObjectStore, folder: str, name: str) -> None:
    """Refuse a stranger or a giant before it is downloaded."""
    if store.size(folder + name) > size_limit(name, Path(folder)):
        raise PackageError(f"{store.uri}/{folder}{name} is larger than a package file may be")
