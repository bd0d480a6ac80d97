"""`POST /predict` and `/predict/batch`: images in, the likeliest class and all probabilities out.

The hot path: one image costs one decode on the event loop and a place in the batcher's queue. Its route skips
FastAPI's validation of what we made ourselves; the OpenAPI document is written by hand instead (`predict_docs.py`).
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from numpy.typing import NDArray

from services.api.aside import Place
from services.api.auth import Door, authenticated
from services.api.chips import Picture, cut_chips
from services.api.images import decode_tiff
from services.api.predict_docs import BATCH_DOCS, PREDICT_DOCS
from services.api.problems import log_failure, problem_of
from services.api.refusals import ImageError, TooSlowError
from services.api.runtime import Runtime, Served
from services.api.sniff import Kind, sniff
from services.api.uploads import Upload, read_upload, read_uploads
from services.core.errors import SwathError, UnanswerableError
from services.core.settings import Settings

#: Bytes of an image up to which it is decoded on the event loop: some 40 kB take about a millisecond.
_SMALL_BYTES = 40_000
#: Chips of one image in the queue at a time: a large one takes its turn many times instead of all places at once.
_CHIPS_AT_ONCE = 32


class LeanRoute(APIRoute):
    """A route whose function takes the request and returns the response, with nothing in between."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


router = APIRouter(tags=["predict"], route_class=LeanRoute)


@router.post("/predict", **PREDICT_DOCS)
async def predict(request: Request) -> Response:
    """Say what one image shows."""
    app = request.app
    settings: Settings = app.state.site.settings
    runtime: Runtime = app.state.runtime
    await authenticated(request)
    served = runtime.served
    served.batcher.check()
    try:
        async with asyncio.timeout(settings.api_timeout_s):
            upload = await read_upload(request)
            answer = await _answer(runtime, served, upload, max_pixels=settings.api_max_pixels)
    except TimeoutError as exc:
        raise TooSlowError(f"the request took longer than {settings.api_timeout_s:g} s; send it again") from exc
    return _json(_render(served, answer, request.state.request_id))


@router.post("/predict/batch", **BATCH_DOCS)
async def predict_batch(request: Request) -> Response:
    """Say what each of many images shows; one that cannot be used does not spoil the others."""
    app = request.app
    settings: Settings = app.state.site.settings
    runtime: Runtime = app.state.runtime
    door: Door = app.state.door
    caller = await authenticated(request)
    served = runtime.served
    served.batcher.check()
    try:
        async with asyncio.timeout(settings.api_timeout_s):
            uploads = await read_uploads(request, "files", most=settings.api_max_batch)
            door.charge_further(caller, len(uploads) - 1)
            results = await _answer_all(runtime, served, uploads, max_pixels=settings.api_max_pixels)
    except TimeoutError as exc:
        raise TooSlowError(f"the request took longer than {settings.api_timeout_s:g} s; send fewer images") from exc
    request_id = request.state.request_id
    parts = [_render_item(served, result, request_id) for result in results]
    return _json(b'{"results":[' + b",".join(parts) + b'],"request_id":"' + request_id.encode() + b'"}')


async def _answer_all(
    runtime: Runtime, served: Served, uploads: list[Upload], *, max_pixels: int
) -> list[NDArray[np.float32] | SwathError]:
    """Answers in order, or what is wrong with that image."""
    results: list[NDArray[np.float32] | SwathError] = []
    most = 8  # at a time: they share calls of the network, and leave places in its queue to others
    for start in range(0, len(uploads), most):
        tasks = [
            asyncio.ensure_future(_answer(runtime, served, upload, max_pixels=max_pixels))
            for upload in uploads[start : start + most]
        ]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:  # if the request was given up meanwhile
                task.cancel()
        results += [_settled(task) for task in tasks]
    return results


def _settled(task: "asyncio.Task[NDArray[np.float32]]") -> NDArray[np.float32] | SwathError:
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, SwathError):
        raise error
    return error


async def _answer(runtime: Runtime, served: Served, upload: Upload, *, max_pixels: int) -> NDArray[np.float32]:
    """(K,) probabilities of one image: of its only chip, or the mean over its chips by their usable parts.

    Raises:
        SwathError: The image cannot be used, or the network does not come to it in time.
    """
    kind, picture = sniff(upload.body, upload.claim), None
    if kind != "TIFF" and len(upload.body) <= _SMALL_BYTES:
        picture = served.pictures.decode_small(upload.body, kind, max_pixels=max_pixels)
        if picture is not None and picture.valid is None:
            return await _ask(served, picture)
    async with runtime.pictures.place() as place:  # also to fill what chips lack: that takes up to 10 ms a chip
        if picture is None:
            picture = await place.run(lambda: _decode(served, upload, kind, max_pixels=max_pixels))
        return await _ask(served, picture, place)


def _decode(served: Served, upload: Upload, kind: Kind, *, max_pixels: int) -> Picture:
    if kind == "TIFF":
        return decode_tiff(upload.body, served.package.contract, names=upload.bands, max_pixels=max_pixels)
    return served.pictures.decode(upload.body, kind, max_pixels=max_pixels)


async def _ask(served: Served, picture: Picture, place: Place | None = None) -> NDArray[np.float32]:
    """What the network says of a picture; `place` is where a large one is cut, so that the loop is not held up."""
    contract = served.package.contract
    groups = cut_chips(picture, contract.chip_px, most=_CHIPS_AT_ONCE)
    total, weight = np.zeros(len(contract.classes), np.float64), 0.0
    while group := next(groups, None) if place is None else await place.run(lambda: next(groups, None)):
        chips, weights = group
        answers = await served.batcher.predict(chips)
        if len(answers) == 1 and weight == 0 and picture.pixels.shape[1:] == chips.shape[2:]:
            return _checked(served, answers[0])
        total += (answers * np.array(weights)[:, None]).sum(axis=0, dtype=np.float64)
        weight += sum(weights)
    if weight == 0:
        raise ImageError("the image has no usable pixel: all of it is transparent or nodata")
    return _checked(served, (total / weight).astype(np.float32))


def _checked(served: Served, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(probabilities).all():
        raise UnanswerableError(
            f"model {served.package.contract.name} has no number for this image (nor, maybe, for any whose pixels are "
            "all alike); send another"
        )
    return probabilities


def _render(served: Served, probabilities: NDArray[np.float32], request_id: str) -> bytes:
    """The answer as JSON; nine digits bring a float32 back bit for bit."""
    best = int(probabilities.argmax())  # the lower number on a tie, as in a map
    return served.template.fill(best, probabilities.tolist(), request_id)


def _render_item(served: Served, result: NDArray[np.float32] | SwathError, request_id: str) -> bytes:
    if isinstance(result, SwathError):
        log_failure(result, request_id)
        return (
            b'{"problem":' + json.dumps(problem_of(result).model_dump(mode="json", exclude_none=True)).encode() + b"}"
        )
    return _render(served, result, request_id)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
