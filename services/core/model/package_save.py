"""Write a model package whole or not at all, and never over something else."""

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from services.core.errors import ObjectNotFoundError, PackageError
from services.core.model.package import ModelPackage, load_package
from services.core.model.package_files import size_limit
from services.core.storage.files import local_errors


def save_package(target: Path, files: Mapping[str, bytes]) -> ModelPackage:
    """Write a package whole or not at all; the same bytes give the same digest.

    Args:
        target: The folder to make; an empty one, or a link to one, is filled. One that holds the same package already
            is left as it is.
        files: Name -> content.

    Raises:
        PackageError: The files are no valid package, or `target` holds something else.
        StorageRefusedError, StorageUnavailableError: The folder cannot be made or written to.
    """
    target = _followed(target)
    with local_errors(f"model package {target}", writing=True):
        draft = _make_draft(target)
        try:
            for name, body in files.items():
                size_limit(name, target)
                (draft / name).parent.mkdir(exist_ok=True)
                (draft / name).write_bytes(body)
            package = load_package(draft)
            if not _is_taken(target, draft):
                _move(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return _load_same(target, package.digest)


def check_free(target: Path) -> None:
    """Raise unless `save_package` can make a new package there; for callers whose work may take an hour.

    Raises:
        PackageError: Something is there; an empty folder is nothing.
        StorageRefusedError, StorageUnavailableError: The folder cannot be made or written to.
    """
    target = _followed(target)
    with local_errors(f"model package {target}", writing=True):
        if _is_taken(target):
            raise _taken(target)
        _make_draft(target).rmdir()


def _followed(target: Path) -> Path:
    """Absolute, and where a link leads."""
    return Path(os.path.realpath(target))


def _make_draft(target: Path) -> Path:
    """An empty folder beside it, so that a package appears whole by one rename; or in it, where it is an empty one."""
    if target.is_dir() and not _is_taken(target):
        return Path(tempfile.mkdtemp(prefix=".draft-", dir=target))
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))


def _is_taken(target: Path, draft: Path | None = None) -> bool:
    if target.is_dir():
        return any(path != draft for path in target.iterdir())
    return target.exists()


def _move(draft: Path, target: Path) -> None:
    """Give the draft its name, unless somebody who makes the same package was faster.

    A folder that was there stays the same one: it may be somebody's current one, or another disk's. So it is filled,
    model.json last, without which it is no package.
    """
    if draft.parent == target:
        for path in sorted(draft.iterdir(), key=lambda path: path.name == "model.json"):
            path.rename(target / path.name)
        draft.rmdir()
        return
    draft.chmod(0o755)  # mkdtemp's 0700 would hide a shared model from other users
    try:
        draft.rename(target)
    except OSError as exc:
        if exc.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _load_same(target: Path, digest: str) -> ModelPackage:
    """What lies there, if it is this package."""
    try:
        return load_package(target, digest=digest)
    except (ObjectNotFoundError, PackageError) as exc:
        raise _taken(target) from exc


def _taken(target: Path) -> PackageError:
    held = "is a model package already" if (target / "model.json").is_file() else "is there and is no model package"
    return PackageError(f"{target} {held}; name another folder, or remove it")
