"""`POST /infer`: a model's answer over a window of a scene that the catalog knows.

A request names scenes and models by id. No path or address of it reaches GDAL or the disk.
"""

import base64
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from fastapi import APIRouter, Request, Response, status
from numpy.typing import NDArray

from services.api.auth import SECURITY, LockedRoute
from services.api.ids import scene_exactly
from services.api.infer_shapes import (
    ClassShare,
    InferAnswer,
    InferRequest,
    ModelRef,
    RunStarted,
    SceneRef,
    WindowAnswer,
)
from services.api.options import StartRun
from services.api.picture import north_up, paint
from services.api.problems import problem_responses
from services.api.refusals import BusyError
from services.api.shelf import Shelf
from services.core.area import Area, predict_area
from services.core.boxes import BBox
from services.core.catalog.titles import scene_titled
from services.core.errors import RequestError
from services.core.flow.plan import Allowance
from services.core.grid import Window
from services.core.job import Job, JobRequest, plan_job
from services.core.model.backends import Backend
from services.core.model.contract import Contract, ModelClass, Remedies
from services.core.model.package import ModelPackage
from services.core.raster.cache import block_cache
from services.core.raster.place import window_of_bbox
from services.core.records import Scene
from services.core.scene_bench import SceneBench
from services.core.scenes import asset_opener, check_present, prepared
from services.core.site import Site

#: The cut into units plays no part here, and memory is bounded by the window.
_UNLIMITED = Allowance(memory_bytes=sys.maxsize, workers=1)
_CACHE_BYTES = 32 * 2**20
_AT_ONCE = 2
#: The scene is in the catalog as it is: whoever asks can only ask differently.
_OF_WINDOWS = Remedies(
    bands="ask a model that works with these",
    dtype="ask a model for this sensor",
    scale="ask a model that works with stored numbers",
    gsd="ask a model for pixels of this size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What answers `/infer`. Made once, by `create_app`; safe to share between threads."""

    site: Site
    shelf: Shelf
    max_pixels: int  #: of the scene, in one window answered at once
    start_run: StartRun | None = None  #: None: windows too large to be answered at once are refused
    slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One of the few windows computed at the same time.

        Raises:
            BusyError: All are taken.
        """
        if not self.slots.acquire(blocking=False):
            raise BusyError("as many windows as this service computes at once are being computed; try again")
        try:
            yield
        finally:
            self.slots.release()


router = APIRouter(tags=["scenes"], route_class=LockedRoute)


@router.post(
    "/infer",
    summary="Ask a model about a window of a registered scene",
    response_model=InferAnswer,
    responses={
        202: {
            "model": RunStarted,
            "description": "Too large to answer at once: a run over the window was started.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the run is."}},
        },
        **problem_responses(400, 401, 403, 404, 408, 413, 422, 429, 503),
    },
    openapi_extra={"security": SECURITY},
    operation_id="infer",
)
def infer(body: InferRequest, request: Request) -> InferAnswer | Response:
    """Small windows are answered at once; a larger one becomes a run."""
    windows: Windows = request.app.state.windows
    scene = _find_scene(windows.site, body)
    package = windows.shelf.package(body.model)
    package.contract.pick_bands(scene, remedies=_OF_WINDOWS)  # before others say it in the words of a command line
    window = window_of_bbox(scene, body.bbox)
    if window.size > windows.max_pixels:
        return _start(windows, scene, package, body.bbox, pixels=window.size)
    with windows.slot():
        job, backend = _plan(windows, scene, package)
        area = _compute(windows, job, backend, window)
    return _answer(job, area, picture=body.picture)


def _find_scene(site: Site, body: InferRequest) -> Scene:
    if body.item_id is not None:
        return scene_titled(site.catalog, body.item_id)
    assert body.scene_id is not None, "the request was checked"
    return scene_exactly(site.catalog, body.scene_id)


def _start(windows: Windows, scene: Scene, package: ModelPackage, bbox: BBox, *, pixels: int) -> Response:
    size = f"a window of {pixels} pixels is more than the {windows.max_pixels} answered at once"
    if windows.start_run is None:
        raise RequestError(
            f"{size}, and this service starts no runs; ask for a smaller one, or map it with `swath run --bbox`"
        )
    source = prepared(scene, windows.site.store, proven=False)
    check_present(source.assets_of(package.contract.pick_bands(source)))
    run = windows.start_run(scene_id=scene.id, model=package.digest, bbox=bbox)
    started = RunStarted(run_id=run.id, location=f"/runs/{run.id}", detail=f"{size}, so a run over it was started")
    return Response(
        started.model_dump_json(),
        status_code=status.HTTP_202_ACCEPTED,
        media_type="application/json",
        headers={"Location": started.location},
    )


def _plan(windows: Windows, scene: Scene, package: ModelPackage) -> tuple[Job, Backend | None]:
    backend = windows.shelf.backend(package)
    job = plan_job(
        prepared(scene, windows.site.store),
        package.contract,
        package.digest,
        backend_id="none" if backend is None else backend.id,
        request=JobRequest(),
        allow=_UNLIMITED,
    )
    return job, backend


def _compute(windows: Windows, job: Job, backend: Backend | None, window: Window) -> Area:
    site = windows.site
    bench = SceneBench(job.scene, job.bands, backend, open_asset=asset_opener(site.store, site.settings))
    try:
        with block_cache(_CACHE_BYTES):
            return predict_area(job, window, bench)
    finally:
        bench.close()


def _answer(job: Job, area: Area, *, picture: bool) -> InferAnswer:
    contract = job.contract
    counts = np.bincount(area.classes.ravel(), minlength=256)[: len(contract.classes)]
    known = int(counts.sum())
    shares = [
        ClassShare(
            value=each.value,
            name=each.name,
            color=each.color,
            fraction=int(counts[each.value]) / known if known else 0.0,
            probability=None if contract.kind == "threshold" else area.means.get(each.name),
        )
        for each in contract.classes
    ]
    return InferAnswer(
        scene=SceneRef(id=job.scene.id, digest=job.scene.digest),
        model=ModelRef(name=contract.name, digest=job.model_digest, backend=job.backend_id),
        window=WindowAnswer(**{name: getattr(area.window, name) for name in WindowAnswer.model_fields}),
        cell_px=area.step,
        shape=area.cells.shape,
        valid_fraction=area.valid_fraction,
        top=top_class(contract, counts, area).name if known else None,
        classes=shares,
        score=area.means.get("score") if contract.kind == "threshold" else None,
        picture=_data_uri(paint(north_up(area.classes, job.scene.transform), contract)) if picture else None,
    )


def top_class(contract: Contract, counts: NDArray[np.int64], area: Area) -> ModelClass:
    """The class of most cells; of those that have as many, the one that the mean of all cells speaks for."""
    tied = [each for each in contract.classes if counts[each.value] == counts.max()]
    if contract.kind != "threshold":
        return max(tied, key=lambda each: area.means[each.name])
    assert contract.threshold is not None, "the contract of a threshold has one"
    likelier = int(area.means["score"] >= contract.threshold)
    return next((each for each in tied if each.value == likelier), tied[0])


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
