"""What the catalog's routes answer: records without what is nobody's business, such as where a file lies."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from services.core.catalog.entries import ModelStage, RegisteredModel, StageChange
from services.core.model.contract import Contract, ModelClass, ModelKind
from services.core.model.package import ModelPackage
from services.core.names import public_href
from services.core.records import Product, Record, Run, RunProgress, RunState, Scene


class BandAnswer(Record):
    """One layer of a scene."""

    name: str
    alias: str | None = None
    dtype: str


class SceneAnswer(Record):
    """One acquisition that the catalog knows."""

    id: str
    title: str
    digest: str = Field(description="Two scenes with equal digests have equal pixels.")
    shape: tuple[int, int] = Field(description="Height and width in pixels.")
    crs: str
    gsd_m: float = Field(description="Metres on the ground per pixel.")
    bands: list[BandAnswer]
    platform: str | None = None
    acquired_at: datetime | None = None
    bbox: tuple[float, float, float, float] | None = Field(
        default=None, description="West, south, east, north in degrees; west > east where it crosses the antimeridian."
    )

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """Of a record."""
        return cls(
            bands=[BandAnswer(name=band.name, alias=band.alias, dtype=band.dtype) for band in scene.bands],
            **{name: getattr(scene, name) for name in cls.model_fields if name != "bands"},
        )


class SceneDetail(SceneAnswer):
    """A scene with its outline."""

    geometry: dict[str, Any] | None = Field(default=None, description="GeoJSON footprint in degrees.")


class ModelAnswer(Record):
    """One model package."""

    name: str
    kind: ModelKind
    digest: str
    source: Literal["shipped", "catalog"] = Field(description="Part of this Swath, or registered at this site.")
    stage: ModelStage | None = Field(default=None, description="null: nobody has given it one.")
    bands: tuple[str, ...] = Field(description="What it needs of a scene; empty: every band.")
    classes: tuple[ModelClass, ...]
    chip_px: int
    gsd_m: tuple[float, float] | None = Field(default=None, description="Sizes of pixels it works at, in metres.")

    @classmethod
    def of(
        cls, contract: Contract, digest: str, *, source: Literal["shipped", "catalog"], stage: ModelStage | None
    ) -> "ModelAnswer":
        """Of a contract."""
        return cls(
            digest=digest,
            source=source,
            stage=stage,
            **{name: getattr(contract, name) for name in ("name", "kind", "bands", "classes", "chip_px", "gsd_m")},
        )


class ModelDetail(ModelAnswer):
    """A model package with what is said and was measured of it."""

    contract: Contract
    card: str = Field(description="For people, in Markdown.")
    metrics: dict[str, Any] = Field(description="What was measured, for programs.")
    stages: list[StageChange] = Field(description="Every step of this name, oldest first.")

    @classmethod
    def of_package(cls, package: ModelPackage, summary: ModelAnswer, stages: list[StageChange]) -> "ModelDetail":
        """Of a package and what the catalog says of it."""
        return cls(
            contract=package.contract,
            card=package.card,
            metrics=package.metrics,
            stages=stages,
            **{name: getattr(summary, name) for name in ModelAnswer.model_fields},
        )


class RunAnswer(Record):
    """One scene by one model on one grid."""

    id: str
    state: RunState
    scene_id: str
    model_name: str
    model_digest: str
    tile_px: int
    backend: str
    code_version: str
    created_at: datetime
    finished_at: datetime | None = None
    error: str | None = Field(default=None, description="Why it gave up.")

    @classmethod
    def of(cls, run: Run) -> "RunAnswer":
        """Of a record."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class ProductAnswer(Record):
    """What a run published."""

    href: str = Field(description="Folder or prefix of the map and its papers.")
    manifest_sha256: str
    files: dict[str, str] = Field(description="Name to sha256.")
    coverage: dict[str, Any]

    @classmethod
    def of(cls, product: Product) -> "ProductAnswer":
        """Of a record."""
        return cls(
            href=public_href(product.href),
            manifest_sha256=product.manifest_sha256,
            files=product.files,
            coverage=product.coverage,
        )


class RunDetail(RunAnswer):
    """A run, how far it is, and what came of it."""

    progress: RunProgress
    product: ProductAnswer | None = None

    @classmethod
    def of_run(cls, run: Run, progress: RunProgress, product: Product | None) -> "RunDetail":
        """Of its records."""
        return cls(
            progress=progress,
            product=None if product is None else ProductAnswer.of(product),
            **{name: getattr(run, name) for name in RunAnswer.model_fields},
        )


def contract_of(model: RegisteredModel) -> Contract:
    """The contract in a catalog's row."""
    return Contract.model_validate(model.contract)


class ScenePage(Record):
    """Scenes, newest first."""

    scenes: list[SceneAnswer]
    next: str | None = Field(default=None, description="Cursor of the next page; null: this is the last.")


class ModelPage(Record):
    """Models: the shipped ones, then the site's own, newest first."""

    models: list[ModelAnswer]
    next: str | None = Field(default=None, description="Cursor of the next page; null: this is the last.")


class RunPage(Record):
    """Runs, newest first."""

    runs: list[RunAnswer]
    next: str | None = Field(default=None, description="Cursor of the next page; null: this is the last.")
