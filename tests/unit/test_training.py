"""Training: nothing leaks, nothing is left to chance, and it sees pixels as a run does."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from services.core.errors import BandMismatchError, RequestError
from services.core.flow.flow import Flow
from services.core.grid import Window, whole
from services.core.model.batching import Chips, Probabilities
from services.core.model.networks.small_unet import RECEPTIVE_RADIUS_PX, SmallUnet
from services.core.model.statistics import parse_statistics
from services.core.raster.classmap import UNLABELLED
from services.core.raster.open import open_scene
from services.core.scene_bench import SceneBench
from services.core.synthetic import make_scene
from services.training.evaluate import forest_features, judge
from services.training.evaluate_scene import labelled_digest
from services.training.fit import class_weights
from services.training.precision import bf16_agreement
from services.training.recipe import LANDCOVER_L7
from services.training.samples import Crops, LabelledScene, normalised, plan_split, read_labelled
from services.training.segmentation import train_segmentation

MARGIN_PX = RECEPTIVE_RADIUS_PX + 1
RECIPE = LANDCOVER_L7.model_copy(update={"first_class": 0})  # synthetic truth counts from 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scene")
    make_scene(folder / "scene.tif", folder / "truth.tif", shape=(300, 280), seed=2)
    return folder / "scene.tif", folder / "truth.tif"


@pytest.fixture(scope="module")
def labelled(files: tuple[Path, Path]) -> LabelledScene:
    return read_labelled(*files, contract=RECIPE.draft(), first_class=0)


def test_no_pixel_far_from_another_can_change_it() -> None:
    torch.manual_seed(0)
    network = SmallUnet(bands=2, classes=3, width=4).eval().double()
    pixels = torch.rand(1, 2, 128, 128, dtype=torch.float64, requires_grad=True)
    network(pixels)[0, :, 61:65, 61:65].sum().backward()
    assert pixels.grad is not None
    rows, cols = np.nonzero(pixels.grad[0].abs().sum(dim=0).numpy())
    assert min(rows.min(), cols.min()) >= 61 - RECEPTIVE_RADIUS_PX
    assert max(rows.max(), cols.max()) <= 64 + RECEPTIVE_RADIUS_PX


def test_parts_lie_further_apart_than_the_network_sees() -> None:
    split = plan_split((475, 527), margin_px=MARGIN_PX)
    reach = np.lib.stride_tricks.sliding_window_view(
        np.pad(split.held_out, RECEPTIVE_RADIUS_PX), (2 * RECEPTIVE_RADIUS_PX + 1,) * 2
    ).any(axis=(2, 3))
    assert not (split.train & reach).any()
    assert not (split.test & split.validation).any()
    assert split.train.mean() > 0.5


def test_a_scene_too_small_to_be_divided_is_refused() -> None:
    with pytest.raises(RequestError, match="too small"):
        plan_split((100, 500), margin_px=MARGIN_PX)


@pytest.mark.parametrize(("part", "told"), [("test", "testing"), ("validation", "validation"), ("train", "training")])
def test_labels_that_leave_a_part_empty_are_refused_before_training(
    files: tuple[Path, Path], tmp_path: Path, part: str, told: str
) -> None:
    split = plan_split((300, 280), margin_px=MARGIN_PX)
    with rasterio.open(files[1]) as dataset:
        labels, profile = dataset.read(1), dataset.profile
    labels[getattr(split, part)] = 255
    with rasterio.open(tmp_path / "truth.tif", "w", **profile) as dataset:
        dataset.write(labels, 1)

    with pytest.raises(RequestError, match=f"no pixel of the part of the scene that is for {told}"):
        train_segmentation(files[0], tmp_path / "truth.tif", tmp_path / "out", recipe=RECIPE, progress=pytest.fail)


@pytest.mark.parametrize("shape", [(150, 150), (147, 200)])
def test_bf16_is_judged_on_scenes_whose_sides_are_no_multiple_of_four(shape: tuple[int, int]) -> None:
    network = SmallUnet(bands=2, classes=3, width=4).eval()
    pixels = np.random.default_rng(1).standard_normal((2, *shape), np.float32)
    split = plan_split(shape, margin_px=MARGIN_PX)
    assert bf16_agreement(network, pixels, split.validation).answers % 16 == 0


def test_held_out_pixels_reach_the_network_as_nodata(labelled: LabelledScene) -> None:
    split = plan_split(labelled.scene.shape, margin_px=MARGIN_PX)
    contract = RECIPE.contract((50.0,) * 6, (10.0,) * 6)
    pixels = normalised(labelled, contract, ~split.held_out)
    assert (pixels[:, split.held_out] == 0).all()
    assert (pixels[:, split.train] != 0).any()


class Recorder:
    """A backend that keeps the chips it is shown, and answers as if all were of the first class."""

    id = "recorder:fp32"

    def __init__(self) -> None:
        self.chips = np.empty(0, np.float32)

    def predict(self, chips: Chips) -> Probabilities:
        self.chips = chips.copy()
        answers = np.zeros((len(chips), len(RECIPE.classes), *chips.shape[2:]), np.float32)
        answers[:, 0] = 1
        return answers


def test_training_and_a_run_give_the_network_the_same_numbers(labelled: LabelledScene) -> None:
    contract = RECIPE.contract((80.0, 66.0, 65.0, 68.0, 88.0, 57.0), (9.0, 10.0, 16.0, 14.0, 20.0, 17.0))
    recorder = Recorder()
    bench = SceneBench(labelled.scene, labelled.bands, recorder)
    flow = Flow.open(labelled.scene, labelled.bands).predict("0" * 64, contract)
    chip = next(iter(flow.inputs))  # the chips before they are blended
    tile = chip.operator.compute(
        Window(row_off=0, col_off=0, height=256, width=256),
        (chip.inputs[0].operator.compute(Window(row_off=0, col_off=0, height=256, width=256), (), bench),),
        bench,
    )
    assert tile.data.shape[0] == len(RECIPE.classes)
    learned = normalised(labelled, contract, np.ones(labelled.scene.shape, np.bool_))
    np.testing.assert_array_equal(recorder.chips[0], learned[:, :256, :256])


def test_crops_hold_pixels_and_labels_of_one_place(labelled: LabelledScene) -> None:
    place = np.arange(labelled.labels.size, dtype=np.float32).reshape(1, *labelled.labels.shape)
    crops = Crops(place, place[0].astype(np.int64), crop_px=64, rng=np.random.default_rng(5))
    for pixels, labels in crops.batches(3, size=4):
        np.testing.assert_array_equal(pixels[:, 0], labels)


def test_a_scene_without_labels_is_refused() -> None:
    labels = np.full((100, 100), UNLABELLED)
    with pytest.raises(RequestError, match="labels too few"):
        Crops(np.zeros((1, 100, 100), np.float32), labels, crop_px=64, rng=np.random.default_rng(0))


def test_truth_on_another_grid_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    make_scene(tmp_path / "other.tif", tmp_path / "truth.tif", shape=(280, 300))
    with pytest.raises(BandMismatchError, match="grid"):
        read_labelled(files[0], tmp_path / "truth.tif", contract=RECIPE.draft(), first_class=0)


def test_rare_classes_weigh_more_and_absent_ones_nothing() -> None:
    weights = class_weights(np.array([0, 0, 0, 1, UNLABELLED]), 3, 0.5).numpy()
    assert weights[1] > weights[0] > weights[2] == 0
    assert (3 * weights[0] + weights[1]) / 4 == pytest.approx(1)


def test_accuracy_counts_what_a_hand_would() -> None:
    truth = np.array([[0, 0, 1], [1, UNLABELLED, 2]])
    answers = np.array([[0, 1, 1], [1, 0, 255]])
    told = judge(answers, truth, np.ones((2, 3), np.bool_), classes=3)
    assert told.overall == pytest.approx(3 / 4)
    assert told.as_json(RECIPE.classes[:3])["per_class"]["agriculture"]["precision"] == pytest.approx(2 / 3, abs=1e-4)


def test_forest_features_are_means_and_deviations_of_the_surroundings() -> None:
    pixels = np.random.default_rng(0).random((2, 9, 9), np.float32)
    features = forest_features(pixels, (3,))
    square = pixels[1, 3:6, 4:7]
    assert features.shape == (6, 9, 9)
    np.testing.assert_allclose([features[3, 4, 5], features[5, 4, 5]], [square.mean(), square.std()], atol=1e-5)


@pytest.mark.slow
def test_one_seed_trains_one_package_and_another_seed_another(files: tuple[Path, Path], tmp_path: Path) -> None:
    def digest(name: str, seed: int) -> str:
        report = train_segmentation(*files, tmp_path / name, recipe=RECIPE, seed=seed, epochs=2, baseline=False)
        return report.package.digest

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)


def test_training_reports_each_epoch_and_packs_what_it_judged(files: tuple[Path, Path], tmp_path: Path) -> None:
    seen: list[int] = []
    report = train_segmentation(
        *files, tmp_path / "out", recipe=RECIPE, epochs=2, progress=lambda epoch: seen.append(epoch.number)
    )
    split = plan_split((300, 280), margin_px=MARGIN_PX)
    assert seen == [1, 2]
    assert report.test.pixels == split.test.sum() == report.package.metrics["test"]["pixels"]
    assert report.package.contract.mean[0] > 0
    assert f"{100 * report.test.overall:.1f} %" in report.package.card
    assert set(report.baseline) == {"pixel", "3x3", "5x5", "3x3_5x5_9x9"}
    assert whole((300, 280)).size > report.test.pixels
    assert report.package.metrics["training"]["data"] == labelled_digest(
        open_scene([str(files[0])]), files[1], RECIPE.first_class
    )
    told = parse_statistics(report.package.read("statistics.json"), "the package")
    seen_px = sum(told.bands[RECIPE.bands[0]].counts)
    assert 0.2 < seen_px * 256 / split.train.sum() <= 4  # every 256th pixel of a chip, and up to four overlap
