"""Pixels that are no squares on the ground: what a model, and --gsd, make of them."""

from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

from services.core.errors import ContractError, RequestError
from services.core.flow.plan import Allowance
from services.core.job import Job, JobRequest, plan_job
from services.core.model.contract import Contract, ModelClass
from services.core.raster.open import open_scene
from services.core.records import NO_BACKEND, Scene
from tests.rasters import write_raster

CLASSES = tuple(ModelClass(value=v, name=n, color="#102030") for v, n in enumerate("ab"))
BRIGHTNESS = Contract(name="brightness", kind="threshold", bands=(), units="dn", threshold=0.5, classes=CLASSES)
NETWORK = Contract(
    name="network",
    kind="classification",
    bands=("band1",),
    units="dn",
    mean=(100.0,),
    std=(10.0,),
    gsd_m=(8.0, 12.0),
    chip_px=64,
    stride_px=64,
    classes=CLASSES,
)


def scene_in_degrees(folder: Path, lat: float, height_m: float = 10.0) -> Scene:
    """Pixels as many degrees wide as high."""
    degrees = height_m / 111_195
    transform = Affine(degrees, 0, 25, 0, -degrees, lat)
    return open_scene(
        [str(write_raster(folder / "a.tif", np.ones((80, 90), "uint8"), crs="EPSG:4326", transform=transform))]
    )


def plan(scene: Scene, contract: Contract, gsd_m: float | None = None) -> Job:
    allow = Allowance(memory_bytes=2**30, workers=1)
    return plan_job(scene, contract, "d", backend_id=NO_BACKEND, request=JobRequest(gsd_m=gsd_m), allow=allow)


@pytest.mark.parametrize(("lat", "gsd_m"), [(5, None), (20, 10.0), (45, None)])
def test_pixels_that_are_nearly_square_are_taken(tmp_path: Path, lat: float, gsd_m: float | None) -> None:
    scene = scene_in_degrees(tmp_path, lat, height_m=12.0)
    assert plan(scene, NETWORK, gsd_m).plan.units
    assert plan(scene, BRIGHTNESS, gsd_m).plan.units


def test_a_model_is_given_no_pixel_with_a_side_that_it_does_not_know(tmp_path: Path) -> None:
    scene = scene_in_degrees(tmp_path, 65, height_m=15.0)  # 6.3 m wide: as large as squares of 9.8 m
    with pytest.raises(ContractError, match=r"pixels of 6\.\d+ by 15(\.\d)? m on the ground.* 8 to 12 m; .*gdalwarp"):
        plan(scene, NETWORK)
    assert plan(scene, BRIGHTNESS).plan.units


@pytest.mark.parametrize("contract", [NETWORK, BRIGHTNESS])
def test_pixels_of_one_size_are_not_made_of_such_that_are_no_squares(tmp_path: Path, contract: Contract) -> None:
    with pytest.raises(RequestError, match=r"--gsd 10 would make pixels of 6\.\d+ by 15\.\d m .* gdalwarp"):
        plan(scene_in_degrees(tmp_path, 65), contract, 10.0)


def test_a_scene_ingested_before_is_held_to_be_square(tmp_path: Path) -> None:
    told = scene_in_degrees(tmp_path, 65).model_dump(mode="json", exclude={"pixel_aspect"})
    assert plan(Scene.model_validate(told), BRIGHTNESS, 10.0).plan.units
