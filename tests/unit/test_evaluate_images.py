"""Judging a classifier: numbers that follow from known mistakes, and data that does not fit refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.core.errors import ContractError, UnanswerableError
from services.core.model.backends import open_backend
from services.core.model.batching import Chips, Probabilities
from services.core.model.package import ModelPackage
from services.training.altered import ALTERATIONS, evaluate_altered
from services.training.byo import pack_module
from services.training.byo_contract import read_declaration
from services.training.confusion_picture import draw_confusion
from services.training.evaluate_images import ImageVerdict, evaluate_images, evenly, measure_speeds
from services.training.images import LabelledImages, read_labelled_images
from tests.classifiers import GREEN_IS_LOST, image_bytes, image_files, write_owner_files, write_zip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Calls every green image blue or red."""
    folder = write_owner_files(tmp_path_factory.mktemp("owner"), bands=GREEN_IS_LOST)
    declared = read_declaration(folder / "contract.toml")
    target = f"{folder / 'net.py'}:Colours"
    return pack_module(target, folder / "weights.safetensors", declared, out=folder / "package", card=None)[0]


def read(tmp_path: Path, files: dict[str, bytes]) -> LabelledImages:
    return read_labelled_images(write_zip(tmp_path / "data.zip", files))


def judge(package: ModelPackage, images: LabelledImages) -> ImageVerdict:
    return evaluate_images(package, images, open_backend(package, name="onnxruntime"))


def test_known_mistakes_give_known_numbers(package: ModelPackage, tmp_path: Path) -> None:
    report = judge(package, read(tmp_path, image_files())).as_json()

    blue, green, red = report["per_class"].values()
    assert report["accuracy"] == round(8 / 12, 6)
    assert (green["recall"], green["precision"], green["f1"]) == (0.0, None, 0.0)
    assert (blue["recall"], red["recall"]) == (1.0, 1.0)
    assert [sum(row) for row in report["confusion_truth_by_answer"]] == [4, 4, 4]
    assert report["held_out"]["accuracy"] == report["accuracy"]


def test_an_image_without_an_answer_is_named_and_counts_as_no_class(package: ModelPackage, tmp_path: Path) -> None:
    class Undecided:
        """Has no number for the sixth and the eighth image."""

        id = "undecided:fp32"

        def predict(self, chips: Chips) -> Probabilities:
            answers = np.full((len(chips), 3), 1 / 3, np.float32)
            answers[[5, 7]] = np.nan
            return answers

    images = read(tmp_path, image_files())
    with pytest.raises(UnanswerableError, match=f"no number for image {images.names[5]} and 1 more, so"):
        evaluate_images(package, images, Undecided())


def test_the_calibration_error_is_what_its_bins_say(package: ModelPackage, tmp_path: Path) -> None:
    calibration = judge(package, read(tmp_path, image_files())).as_json()["calibration"]

    full = [b for b in calibration["bins"] if b["images"]]
    by_hand = sum(b["images"] * abs(b["confidence"] - b["accuracy"]) for b in full) / 12
    assert len(calibration["bins"]) == 15
    assert sum(b["images"] for b in full) == 12
    assert all(b["low"] < b["confidence"] <= b["high"] for b in full)
    assert calibration["ece"] == pytest.approx(by_hand, abs=1e-5)
    assert calibration["ece"] > 0


def test_classes_are_matched_by_name_and_not_by_order(package: ModelPackage, tmp_path: Path) -> None:
    images = read(tmp_path, image_files())
    turned = LabelledImages(
        pixels=images.pixels,
        labels=2 - images.labels,
        classes=images.classes[::-1],
        names=images.names,
        digest=images.digest,
    )

    assert judge(package, turned).accuracy.confusion.tolist() == judge(package, images).accuracy.confusion.tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Grey/x.png": image_bytes((9, 9, 9))}, "shows Grey, which it does not know"),
        ({name: None for name in image_files() if name.startswith("Red")}, "has no images of Red"),
    ],
)
def test_other_classes_are_named(package: ModelPackage, tmp_path: Path, change: dict, said: str) -> None:
    files = {name: body for name, body in (image_files() | change).items() if body is not None}

    with pytest.raises(ContractError, match=said):
        judge(package, read(tmp_path, files))


def test_images_of_another_size_are_refused(package: ModelPackage, tmp_path: Path) -> None:
    files = {f"{name}/x.png": image_bytes((1, 2, 3), px=32) for name in ("Blue", "Green", "Red")}

    with pytest.raises(ContractError, match="takes images of 16x16 pixels; these have 32x32"):
        judge(package, read(tmp_path, files))


def test_speed_is_told_for_every_library_that_can_run_it(package: ModelPackage, tmp_path: Path) -> None:
    speeds = measure_speeds(package, read(tmp_path, image_files()), threads=1)

    assert speeds.keys() == {"openvino:fp32", "onnxruntime:fp32"}
    assert all(isinstance(rate, float) and rate > 0 for rate in speeds.values())


@pytest.mark.parametrize("count", [3, 512, 5_400])
def test_speed_is_measured_on_images_of_every_class(count: int) -> None:
    pixels = (np.arange(count) * 3 // count).astype(np.uint8)[:, None, None, None]  # sorted by class, as archives are

    chosen = evenly(pixels, most=512).ravel()

    assert len(chosen) == min(count, 512)
    assert max(np.bincount(chosen)) - min(np.bincount(chosen)) <= 1


def test_the_picture_shades_hits_green_mistakes_red_and_leaves_the_rest_white() -> None:
    body = draw_confusion(np.array([[9, 0], [9, 0]]), ["A", "B"], title="x")

    picture = Image.open(io.BytesIO(body)).convert("RGB")
    cell = 64
    right, low = picture.width, picture.height
    corner = lambda row, col: picture.getpixel((right - 16 - (2 - col) * cell + 6, low - 16 - (2 - row) * cell + 6))  # noqa: E731
    assert corner(0, 0) == (24, 104, 72)
    assert corner(1, 0) == (176, 48, 32)
    assert corner(0, 1) == corner(1, 1) == (255, 255, 255)


def test_alterations_keep_size_and_type_and_change_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (2, 3, 16, 16), np.uint8)
    for name, alter in ALTERATIONS.items():
        altered = alter(noise)
        assert (altered.shape, altered.dtype) == (noise.shape, noise.dtype), name
        assert (altered != noise).any(), name
        np.testing.assert_array_equal(alter(noise), altered)


def test_a_model_of_plain_colours_minds_no_alteration(package: ModelPackage, tmp_path: Path) -> None:
    images = read(tmp_path, image_files())
    found = evaluate_altered(package, images, open_backend(package, name="onnxruntime"))
    assert found == dict.fromkeys(ALTERATIONS, round(8 / 12, 6))
