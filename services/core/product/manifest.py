"""`manifest.json`: what a product consists of, to the byte, and what it came from. Its presence says "published"."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from services.core.command import repeating_command
from services.core.errors import CoverageError
from services.core.names import public_href
from services.core.product.coverage import NAMED_TILES, Coverage
from services.core.product.spec import ProductSpec
from services.core.raster.projjson import gdal_version
from services.core.records import Product, Record, Sha256
from services.core.storage.files import local_errors

_LIBRARIES = ("numpy", "pyarrow", "rasterio", "shapely")


class FileFacts(Record):
    """One file, to the byte."""

    sha256: Sha256
    size_bytes: int


class SourceFacts(Record):
    """One file of the scene, as it was when it was read."""

    href: str
    sha256: Sha256
    size_bytes: int


class ModelUse(Record):
    """Which network, run by what."""

    name: str
    digest: Sha256
    kind: str
    backend: str


class Manifest(Record):
    """All of `manifest.json`."""

    schema_version: Literal[1] = 1
    run_id: str
    created_at: datetime
    finished_at: datetime
    scene: str  #: its title
    scene_digest: Sha256
    sources: tuple[SourceFacts, ...]
    model: ModelUse
    code_version: str
    versions: dict[str, str]
    command: str  #: repeats the run
    plan: dict[str, Any]
    flow: dict[str, Any]
    coverage: dict[str, Any]  #: with every masked tile
    files: dict[str, FileFacts]  #: of the product, this one excepted

    def encode(self) -> bytes:
        """The same bytes for the same content."""
        return canonical_json(self.model_dump(mode="json"))

    def product(self, href: str) -> Product:
        """The catalog's record of a product at `href`."""
        tiles = self.coverage.get("masked_tiles", [])
        return Product(
            run_id=self.run_id,
            href=href,
            manifest_sha256=hashlib.sha256(self.encode()).hexdigest(),
            files={name: facts.sha256 for name, facts in self.files.items()},
            coverage={**self.coverage, "masked_tiles": tiles[:NAMED_TILES]},
            created_at=self.finished_at,
        )


def build_manifest(spec: ProductSpec, coverage: Coverage, files: Mapping[str, FileFacts]) -> Manifest:
    """The manifest of a product whose other files are written."""
    run, scene = spec.run, spec.scene
    return Manifest(
        run_id=run.id,
        created_at=run.created_at,
        finished_at=spec.finished_at,
        scene=scene.title,
        scene_digest=scene.digest,
        sources=tuple(
            SourceFacts(href=public_href(a.href), sha256=a.sha256, size_bytes=a.size_bytes) for a in scene.assets
        ),
        model=ModelUse(name=spec.contract.name, digest=run.model_digest, kind=spec.contract.kind, backend=run.backend),
        code_version=spec.code_version,
        versions=library_versions(spec),
        command=repeating_command(run),
        plan=spec.plan,
        flow=spec.flow,
        coverage=coverage.summary(),
        files=dict(files),
    )


def parse_manifest(data: bytes, name: str) -> Manifest:
    """The manifest in these bytes; `name` is where they were found.

    Raises:
        CoverageError: Torn, or not a manifest.
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as exc:
        raise CoverageError(f"{name} is not an intact manifest; publish the run again with: swath resume RUN") from exc
    if manifest.encode() != data:
        raise CoverageError(f"{name} was edited after it was published; publish the run again with: swath resume RUN")
    return manifest


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Sorted, indented, UTF-8, one newline at the end."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def library_versions(spec: ProductSpec) -> dict[str, str]:
    """Of what had a hand in the bytes; the inference library is the part of `run.backend` before the colon."""
    libraries = {name: _installed(name) for name in (*_LIBRARIES, spec.run.backend.partition(":")[0])}
    found = {name: release for name, release in libraries.items() if release is not None}
    return {"gdal": gdal_version(), **found}


@cache
def _installed(name: str) -> str | None:
    """A distribution's version; None: a threshold's backend is no library, another host's may not be installed here."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read_facts(path: Path) -> FileFacts:
    """Hash a local file.

    Raises:
        StorageUnavailableError: The disk does not answer.
    """
    with local_errors(str(path)), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFacts(sha256=digest, size_bytes=file.tell())
