"""Records to fill a catalog with, and what other processes do to it. Importable, so that spawned processes find it."""

import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from threading import Barrier
from typing import Any

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.entries import RegisteredModel
from services.core.catalog.ledger import Ledger
from services.core.names import unit_object_key, unit_result_key
from services.core.records import Asset, Band, MaskKind, PlannedUnit, Product, Run, RunState, Scene, UnitResult
from services.core.worker import worker_name

WHEN = datetime(2026, 11, 21, 2, 3, 4, 567891, tzinfo=UTC)
MODEL = "m" * 64


def scene(number: int = 0, **changes: Any) -> Scene:
    """A scene whose record has what is awkward in JSON: NaN, tuples, a date, text beyond ASCII."""
    transform = (10.0, 0.0, 399960.0, 0.0, -10.0, 4900020.1)
    asset = Asset(
        href=f"/scenes/{number}.tif",
        sha256="a" * 64,
        size_bytes=2**40,
        driver="GTiff",
        shape=(10980, 10980),
        block_shape=(512, 512),
        transform=transform,
        mask=MaskKind.NODATA,
    )
    values: dict[str, Any] = {
        "id": f"scene-{number:04d}",
        "title": "Säntis, 标题",
        "source": asset.href,
        "digest": f"{number:064d}",
        "assets": (asset,),
        "bands": (Band(name="red", asset=0, bidx=1, dtype="float32", nodata=float("inf")),),
        "shape": asset.shape,
        "crs": "EPSG:32632",
        "transform": transform,
        "gsd_m": 10.0,
        "acquired_at": WHEN,
    }
    return Scene(**values | changes)


def model(digest: str = MODEL, **changes: Any) -> RegisteredModel:
    values: dict[str, Any] = {
        "digest": digest,
        "name": "mean-intensity",
        "kind": "threshold",
        "href": "/models/mean",
        "created_at": WHEN,
        "contract": {"threshold": 0.5, "bands": []},
    }
    return RegisteredModel(**values | changes)


def run(run_id: str = "run-1", **changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": run_id,
        "scene_id": "scene-0000",
        "model_name": "mean-intensity",
        "model_digest": MODEL,
        "tile_px": 256,
        "backend": "openvino:bf16",
        "out": "/out",
        "state": RunState.PLANNED,
        "command": "swath run",
        "code_version": "0.1.0",
        "plan": {"memory": 2**31, "shape": [3, 4]},
        "created_at": WHEN,
    }
    return Run(**values | changes)


def plan(count: int, *, tiles: int = 4, salt: str = "") -> list[PlannedUnit]:
    return [
        PlannedUnit(index=index, key=f"{salt}{index:064d}", row_start=index, row_stop=index + 1, tiles=tiles)
        for index in range(count)
    ]


def result(unit: PlannedUnit, *, masked: int = 0, sha256: str = "5" * 64) -> UnitResult:
    return UnitResult(
        key=unit_result_key(unit.key, sha256, masked=masked),
        object_key=unit_object_key(unit.key, sha256),
        sha256=sha256,
        tiles=unit.tiles,
        masked=masked,
        seconds=0.25,
    )


def product(run_id: str = "run-1", **changes: Any) -> Product:
    values: dict[str, Any] = {
        "run_id": run_id,
        "href": f"/out/{run_id}",
        "manifest_sha256": "b" * 64,
        "files": {"map.tif": "c" * 64, "item.json": "d" * 64},
        "coverage": {"tiles": 12, "masked": 1},
        "created_at": WHEN,
    }
    return Product(**values | changes)


def seeded(catalog: Catalog) -> Catalog:
    """With the scene and model that `run` names."""
    catalog.add_scene(scene())
    catalog.add_model(model())
    return catalog


def work_through(url: str, run_id: str, together: Barrier) -> list[int]:
    """Claim and finish units until none is free; the indices that were this process's.

    No process begins before ``together`` has them all, and each unit takes a moment as real work does: else a slow
    start, or SQLite's lock going twice to the one that just gave it back, leaves the other nothing to do.
    """
    mine = []
    with open_catalog(url) as catalog:
        ledger, worker = Ledger(catalog, lease_s=30), worker_name()
        together.wait(300)
        while (unit := ledger.claim_unit(run_id, worker)) is not None:
            time.sleep(0.005)
            assert ledger.finish_unit(run_id, unit.index, worker, result(unit))
            mine.append(unit.index)
    return mine


def claim_and_hang(url: str, run_id: str, ready: Event) -> None:
    """Claim a unit and the assembly, say so, and never come back; somebody must kill it."""
    with open_catalog(url) as catalog:
        ledger = Ledger(catalog, lease_s=3600)
        ledger.claim_unit(run_id, worker_name())
        ledger.claim_assembly(run_id, worker_name())
        ready.set()
        time.sleep(600)


def open_together(url: str, together: Barrier) -> None:
    """Open, write, close, when all processes are ready to."""
    together.wait(300)
    with open_catalog(url) as catalog:
        catalog.add_refusal("/somewhere", "no")
