"""One scene met by one model: the flow to compute and the plan to compute it by. Runs, lineage and the API share it."""

import math
from dataclasses import dataclass, replace

import numpy as np

from services.core.boxes import BBox
from services.core.errors import RequestError
from services.core.flow.flow import Flow
from services.core.flow.plan import TILES_AT_ONCE, Allowance, Plan, SourceLayout, plan_run
from services.core.flow.tile import Layer
from services.core.grid import Window
from services.core.model.contract import MAKE_SQUARE, SQUARE_ENOUGH, Contract
from services.core.model.threshold import score_scale
from services.core.raster.crop import crop, part_for
from services.core.raster.place import window_of_bbox
from services.core.records import Band, Scene
from services.core.unit import UNIT_FORMAT

#: Chips a segmentation network gets at once.
SEGMENTATION_BATCH = 4
#: What a network holds beside its chips, per pixel of them: 300 measured for SmallUNet in OpenVINO and ONNX Runtime.
NETWORK_BYTES_PER_PX = 320
DEFAULT_TILE_PX = 256
#: Resampling to smaller pixels than this part of the scene's adds none of its detail, only bytes.
FINEST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that decides the pixels, and nothing about where they are computed."""

    scene: Scene
    contract: Contract
    model_digest: str
    backend_id: str  #: `none` for a threshold
    bands: tuple[Band, ...]
    flow: Flow
    base: Layer  #: the raster that tiles are laid on
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What the user may choose."""

    tile_px: int | None = None
    gsd_m: float | None = None
    window: Window | None = None  #: pixels of the scene that matter; None: all

    @classmethod
    def of(
        cls, scene: Scene, *, tile_px: int | None = None, gsd_m: float | None = None, bbox: BBox | None = None
    ) -> "JobRequest":
        """What a user asks of one scene; `bbox` is the part that matters, in WGS84 degrees.

        Raises:
            WindowError: The box and the scene share no pixel.
        """
        window = None if bbox is None else window_of_bbox(scene, bbox)
        return cls(tile_px=tile_px, gsd_m=gsd_m, window=window)


def plan_job(
    scene: Scene, contract: Contract, digest: str, *, backend_id: str, request: JobRequest, allow: Allowance
) -> Job:
    """Check the contract and cut the work; reads no pixel.

    Raises:
        BandMismatchError, ContractError: The scene does not meet the contract.
        MemoryBudgetError: One unit does not fit the memory.
        RequestError: A tile or pixel size that makes no sense, or a window with another pixel size.
    """
    _check_gsd(scene, request.gsd_m)
    bands = contract.pick_bands(scene, gsd_m=request.gsd_m)
    tile_px = _tile_px(contract, request.tile_px)
    scene = _asked_part(scene, contract, request, tile_px)
    source = Flow.open(scene, bands)
    if request.gsd_m is not None:
        source = source.resample(request.gsd_m)
    if contract.kind == "threshold":
        flow = source.tile_mean(tile_px, score_scale(scene))
    elif contract.kind == "classification":
        flow = source.predict_tiles(digest, contract, tile_px=tile_px)
    else:
        flow = source.predict(digest, contract, batch=SEGMENTATION_BATCH)
    plan = plan_run(
        flow,
        base=source.layer,
        tile_px=tile_px,
        layout=_layout(scene, bands),
        recipe={"model": digest, "backend": backend_id, "unit_format": UNIT_FORMAT},
        allow=replace(allow, network_bytes=_network_bytes(contract)),
    )
    return Job(
        scene=scene,
        contract=contract,
        model_digest=digest,
        backend_id=backend_id,
        bands=bands,
        flow=flow,
        base=source.layer,
        plan=plan,
    )


def _check_gsd(scene: Scene, gsd_m: float | None) -> None:
    if gsd_m is None:
        return
    if not scene.gsd_m / FINEST <= gsd_m < math.inf:
        raise RequestError(
            f"--gsd {gsd_m:g} is not a size of pixels in metres, or more than {FINEST} times finer than the scene's "
            f"{scene.gsd_m:g} m; leave it out, or choose one that the scene's detail bears"
        )
    if not 1 / SQUARE_ENOUGH <= scene.pixel_aspect <= SQUARE_ENOUGH:
        width, height = scene.sides_m(gsd_m)
        raise RequestError(
            f"--gsd {gsd_m:g} would make pixels of {width:.3g} by {height:.3g} m on the ground, because those of "
            f"{scene.title} are not square there; {MAKE_SQUARE}"
        )
    coarsest = scene.gsd_m * min(scene.shape)
    if gsd_m > coarsest:
        height, width = scene.shape
        raise RequestError(
            f"--gsd {gsd_m:g} leaves less than one pixel of a scene of {height} x {width} pixels of {scene.gsd_m:g} m; "
            f"choose {coarsest:g} or less"
        )


def _tile_px(contract: Contract, asked: int | None) -> int:
    if asked is not None and not 8 <= asked <= 8192:
        raise RequestError(f"--tile-px {asked} is not between 8 and 8192")
    if contract.kind != "classification":
        return asked or DEFAULT_TILE_PX
    tile_px = asked or contract.stride_px
    if contract.chip_px % tile_px:
        raise RequestError(
            f"model {contract.name} classifies chips of {contract.chip_px} px, which is no whole number of tiles of "
            f"{tile_px} px; leave --tile-px out, or give a half, a quarter or an eighth of the chip for a smooth map"
        )
    return tile_px


def _asked_part(scene: Scene, contract: Contract, request: JobRequest, tile_px: int) -> Scene:
    """What is computed for the sake of the window that was asked for: whole tiles, and what their answers look at."""
    if request.window is None:
        return scene
    if request.gsd_m is not None:
        raise RequestError(
            "--bbox and --gsd do not go together: a part has no grid of another pixel size; leave one out"
        )
    overlapping = contract.kind == "segmentation" or (contract.kind == "classification" and tile_px < contract.chip_px)
    part = part_for(
        request.window,
        scene.shape,
        step_px=math.lcm(tile_px, contract.stride_px) if contract.kind == "segmentation" else tile_px,
        margin_px=contract.chip_px if overlapping else 0,
    )
    return crop(scene, part)


def _network_bytes(contract: Contract) -> int:
    batch = {"threshold": 0, "classification": TILES_AT_ONCE, "segmentation": SEGMENTATION_BATCH}[contract.kind]
    return batch * contract.chip_px**2 * NETWORK_BYTES_PER_PX


def _layout(scene: Scene, bands: tuple[Band, ...]) -> SourceLayout:
    """The largest blocks among the assets that are read, on the scene's grid, with all their bands."""
    read = {band.asset for band in bands}
    assets = scene.assets_of(bands)
    decoded = [band for band in scene.bands if band.asset in read]
    # One file has one type: the tiler's copy of bands of several, one that holds them all.
    types = [np.result_type(*(band.dtype for band in decoded if band.asset == asset)) for asset in read]
    return SourceLayout(
        block_shape=(max(a.block_shape[0] for a in assets), max(a.block_shape[1] for a in assets)),
        width=scene.shape[1],
        bands_per_block=len(decoded),
        sample_bytes=max(dtype.itemsize for dtype in types),
    )
