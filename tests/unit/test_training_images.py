"""Training of whole-image classifiers: augmentation, splits, resumption, and the package that comes out."""

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.core.errors import PackageError, RequestError
from services.core.model.backends import open_backend
from services.core.model.contract import ModelClass, Rendering
from services.core.model.networks.registry import build_network
from services.core.model.package import ModelPackage, shipped_package
from services.core.model.parity import check_parity
from services.training import classification, settle_images
from services.training import pack_images as pack_images_module
from services.training.augment import Augmentation, Augmenter
from services.training.classification import ImagePlan, Progress, Trained, cross_validate, train_images
from services.training.export import onnx_bytes
from services.training.fit_images import ImageTrainer
from services.training.half import half_onnx, half_weights_bytes, round_to_half
from services.training.image_card import _int8
from services.training.image_recipe import EUROSAT_RGB, ImageRecipe
from services.training.image_schedule import Schedule, rate_share, rough_rate_share
from services.training.images import LabelledImages
from services.training.muon import Muon, near_orthogonal
from services.training.pack_images import ImageReport, pack_images
from services.training.quantise import int8_onnx
from services.training.rough import blurred
from services.training.seen_images import known_again, parse_seen
from services.training.split_images import all_but, stratified_folds, take

STILL = Augmentation(shift_px=0, gain=0.0, tint=0.0, haze=0.0, cut=0.0)
TINY = EUROSAT_RGB.model_copy(
    update={
        "name": "tiny-images",
        "chip_px": 32,
        "width": 16,
        "blocks": (1, 1),
        "classes": tuple(ModelClass(value=i, name=name, color="#000000") for i, name in enumerate(("dark", "light"))),
    }
)
PLAN = ImagePlan(
    recipe=TINY,
    schedule=Schedule(phases=((16, 1), (32, 3)), batch=16, rate=0.02, turn=0.005, average=0.5, rough_epochs=2),
)


def images(count: int = 160) -> LabelledImages:
    """Noise of all levels, or of the light ones: a lesson any network learns, and chips of pure noise are no riddle."""
    rng = np.random.default_rng(3)
    labels = np.arange(count) % 2
    pixels = rng.integers(200 * labels[:, None, None, None], 256, (count, 3, 32, 32))
    names = tuple(f"{('dark', 'light')[label]}/{index}.png" for index, label in enumerate(labels))
    return LabelledImages(
        pixels=pixels.astype(np.uint8), labels=labels, classes=("dark", "light"), names=names, digest="d" * 64
    )


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.fitted.network.state_dict().values())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_images(images(), PLAN, work=tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def report(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> ImageReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_images_module, "_PART", 4)  # fewer than are held, as with any real data
        return pack_images(trained, images(), PLAN, tmp_path_factory.mktemp("packed") / "tiny")


def test_an_augmented_image_is_the_image_in_one_of_eight_positions() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    eight = [np.rot90(side, turns, axes=(2, 3)) for side in (image, image[..., ::-1]) for turns in range(4)]
    augmenter = Augmenter(STILL, mean=(0.0,) * 3, std=(1.0,) * 3, rng=np.random.default_rng(2))

    made = [augmenter.batch(image, np.zeros(1, np.int64), px=8, mix=False).chips.numpy() for _ in range(100)]

    places = [next(i for i, one in enumerate(eight) if np.array_equal(one, chip)) for chip in made]
    assert set(places) == set(range(8))


def test_a_shifted_image_is_mirrored_at_its_edge() -> None:
    image = np.tile(np.arange(8, dtype=np.uint8), (1, 3, 8, 1))
    shifting = replace(STILL, shift_px=2)
    augmenter = Augmenter(shifting, mean=(0.0,) * 3, std=(1.0,) * 3, rng=np.random.default_rng(2))

    chips = augmenter.batch(np.repeat(image, 64, 0), np.zeros(64, np.int64), px=8, mix=False).chips.numpy()

    lines = {tuple(chip[0, 0].astype(int)) for chip in chips} | {tuple(chip[0, :, 0].astype(int)) for chip in chips}
    assert (2, 1, 0, 1, 2, 3, 4, 5) in lines
    assert (2, 3, 4, 5, 6, 7, 6, 5) in lines


def test_the_share_that_is_left_is_what_was_not_pasted_over() -> None:
    pixels = np.stack([np.full((3, 16, 16), value, np.uint8) for value in (10, 200)])
    cutting = replace(STILL, cut=1.0)
    augmenter = Augmenter(cutting, mean=(0.0,) * 3, std=(1.0,) * 3, rng=np.random.default_rng(5))

    for _ in range(20):
        batch = augmenter.batch(pixels, np.array([0, 1]), px=16, mix=True)
        assert float((batch.chips[0, 0] == 10).float().mean()) == pytest.approx(batch.share)
        assert batch.other.tolist() == [1, 0]


def test_folds_share_no_image_and_hold_every_class_alike() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])

    parts = stratified_folds(labels, folds=5, seed=1)

    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert {tuple(np.bincount(labels[part])) for part in parts} == {(10, 6, 4)}
    assert np.intersect1d(all_but(100, parts[0]), parts[0]).size == 0


def test_the_rate_rises_and_then_falls_to_almost_nothing() -> None:
    schedule = Schedule()
    rates = [rate_share(schedule, share) for share in (0.0, 0.05, schedule.warm_share, 0.6, 1.0)]
    assert rates[0] < rates[1] < rates[2] == max(rates) > rates[3] > rates[4]
    assert rates[4] < 1 / 500


def test_rough_epochs_are_gentle() -> None:
    schedule = Schedule()
    rates = [rough_rate_share(schedule, step / 100) for step in range(101)]
    assert max(rates) < 0.07
    assert rates[0] < rates[10] > rates[50] > rates[100]


@pytest.mark.parametrize("last", [2, 5], ids=["before the rough epochs", "in them"])
def test_a_killed_training_ends_with_the_same_weights(trained: Trained, tmp_path: Path, last: int) -> None:
    class KilledError(Exception):
        pass

    def kill(_: str, epoch: object) -> None:
        if getattr(epoch, "number", 0) == last:
            raise KilledError

    moved: list[float] = []
    progress = Progress(kill, lambda _, done, of: moved.append(done / of))
    with pytest.raises(KilledError):
        train_images(images(), PLAN, work=tmp_path, progress=progress)
    assert moved == pytest.approx([step / 54 for step in range(1, 9 * last + 1)])  # nine steps in each of six epochs
    again = train_images(images(), PLAN, work=tmp_path)

    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(trained), strict=True))
    assert [epoch["number"] for epoch in again.fitted.history] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train_images(images(), PLAN.of_epochs(2), work=tmp_path)
    with pytest.raises(RequestError, match="other data, settings or code"):
        train_images(images(), replace(PLAN, seed=2), work=tmp_path)


def test_a_checkpoint_of_another_loop_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(PLAN, schedule=replace(PLAN.schedule, phases=((16, 1),), rough_epochs=0))
    train_images(images(), short, work=tmp_path)
    monkeypatch.setattr(classification, "REVISION", classification.REVISION + 1)
    with pytest.raises(RequestError, match="other data, settings or code"):
        train_images(images(), short, work=tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "training.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(RequestError, match="damaged"):
        train_images(images(), PLAN, work=tmp_path)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> ImagePlan:
    """A plan of eight epochs whose validation stops improving after the third."""
    accuracies = cycle([0.5, 0.6, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7])
    monkeypatch.setattr(ImageTrainer, "_accuracy", lambda _: next(accuracies))
    return replace(PLAN, schedule=replace(PLAN.schedule, phases=((16, 8),), patience=0.25, rough_epochs=0))


def test_training_stops_when_validation_no_longer_improves(judged: ImagePlan, tmp_path: Path) -> None:
    fitted = train_images(images(), judged, work=tmp_path).fitted
    assert (len(fitted.history), fitted.best_epoch) == (5, 3)


def test_the_images_that_judge_a_fold_do_not_say_when_it_ends(judged: ImagePlan, tmp_path: Path) -> None:
    assert cross_validate(images(), judged, folds=2, work=tmp_path)["accuracy"] == [0.7, 0.7]


def test_the_default_schedule_can_stop_early_and_lets_whoever_improves_be() -> None:
    small, full = [0.9] * 40, [0.968, 0.974, 0.978, 0.978, 0.983, 0.985, 0.985, 0.985, 0.985, 0.986]

    assert Schedule().is_stuck([*small, 0.99, *full[:5]])
    assert not any(Schedule().is_stuck([*small, *full[:count]]) for count in range(11))


def test_patience_is_for_epochs_at_full_size() -> None:
    schedule = Schedule(phases=((32, 2), (64, 8)), patience=0.25)

    assert not schedule.is_stuck([0.9, 0.1, 0.1, 0.2])
    assert not schedule.is_stuck([0.0, 0.0, 0.7, 0.8, 0.7])
    assert schedule.is_stuck([0.0, 0.0, 0.8, 0.7, 0.7])
    assert not schedule.is_stuck([0.0, 0.0, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])


def test_rough_epochs_begin_at_the_best_weights_and_leave_them_be(trained: Trained, tmp_path: Path) -> None:
    smooth = replace(PLAN, schedule=replace(PLAN.schedule, rough_epochs=0))
    before = train_images(images(), smooth, work=tmp_path)

    assert before.fitted.rough is None
    assert [epoch["number"] for epoch in before.fitted.history] == [1, 2, 3, 4]
    assert trained.fitted.history[:4] != trained.fitted.history[4:]
    assert all(torch.equal(a, b) for a, b in zip(weights(before), weights(trained), strict=True))
    assert trained.fitted.rough is not None
    assert not all(torch.equal(a, b) for a, b in zip(weights(before), trained.fitted.rough.values(), strict=True))


def test_weights_lie_on_the_line_to_the_rough_ones(trained: Trained) -> None:
    kernel = "head.weight"
    best, rough = trained.fitted.network.state_dict()[kernel], (trained.fitted.rough or {})[kernel]
    kept = best.clone()

    assert torch.equal(trained.fitted.at(0.0).state_dict()[kernel], best)
    assert torch.allclose(trained.fitted.at(0.3).state_dict()[kernel], 0.7 * best + 0.3 * rough, atol=1e-6)
    assert torch.equal(best, kept)


def test_cross_validation_judges_every_image_once(tmp_path: Path) -> None:
    found = cross_validate(images(), PLAN, folds=2, work=tmp_path)
    assert found["mean"] == pytest.approx(np.mean(found["accuracy"]), abs=1e-6)
    assert (found["folds"], found["images"], found["epochs"]) == (2, 160, 4)
    assert found["mean"] > 0.9


@pytest.mark.parametrize(("count", "left"), [(2, 0), (4, 2), (16, 14)])
def test_fewer_images_than_are_learned_from_at_once_are_refused_before_training(
    tmp_path: Path, count: int, left: int
) -> None:
    few = images(count)
    with pytest.raises(RequestError, match=f"{count} images are too few.* {left} are left to learn from, and 16 are"):
        train_images(few, PLAN, work=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folds_too_small_or_too_many_are_refused_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="14 are left to learn from"):
        cross_validate(images(30), PLAN, folds=2, work=tmp_path)
    with pytest.raises(RequestError, match=r"class dark has too few images \(19\): 20 are.*; ask for fewer folds"):
        cross_validate(images(38), PLAN, folds=20, work=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_one_image_is_refused_as_it_cannot_be_learned_and_judged(tmp_path: Path) -> None:
    one = replace(images(), labels=np.minimum(np.arange(160), 1))
    with pytest.raises(RequestError, match=r"class dark has too few images \(1\): 2 are the least"):
        train_images(one, PLAN, work=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_quantising_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    network = build_network("tile-net", {"bands": 3, "classes": 2, "width": 16, "blocks": [1]}).eval()
    chips = np.random.default_rng(1).standard_normal((4, 3, 32, 32), np.float32)

    int8_onnx(onnx_bytes(network, bands=3, chip_px=32), chips)

    assert capsys.readouterr() == ("", "")


def test_a_package_knows_the_images_it_learned_from_by_their_pixels(report: ImageReport, trained: Trained) -> None:
    seen = parse_seen(report.package.metrics["training"]["seen"])
    assert seen is not None
    learned = take(images(), all_but(160, trained.held))
    assert 0 < len(known_again(learned, seen)) < len(learned) / 2
    assert known_again(replace(learned, names=tuple(f"other/{name}" for name in learned.names)), seen)
    assert known_again(take(images(), trained.held), seen) == ()


@pytest.mark.parametrize("told", [None, 7, "not base64!", ["a"]])
def test_a_package_that_does_not_tell_its_images_has_no_list(told: object) -> None:
    assert parse_seen(told) is None


def test_a_recipe_refuses_images_of_other_classes() -> None:
    with pytest.raises(RequestError, match="eurosat-rgb learns AnnualCrop"):
        EUROSAT_RGB.check_classes(("cats", "dogs"), "pets.zip")


def test_the_package_states_what_it_does_on_images_it_never_saw(report: ImageReport, trained: Trained) -> None:
    metrics = report.package.metrics
    held = take(images(), trained.held)
    assert metrics["held_out"] == {"data": held.digest, "images": len(held), "accuracy": 1.0}
    assert "figures/confusion.png" in report.package.files
    assert "**100.00 %** of the 8 images" in report.package.card
    assert report.package.contract.rendering == Rendering()


def test_bf16_is_judged_by_every_held_image(report: ImageReport, trained: Trained) -> None:
    assert report.package.metrics["bf16_against_fp32"]["answers"] == len(trained.held) == 8
    assert "% of 8 answers stay the same" in report.package.card


def test_the_package_answers_alike_in_every_library_and_format_that_it_claims(report: ImageReport) -> None:
    asked = {found.backend for found in check_parity(report.package)}
    for precision in report.package.precisions:
        assert f"openvino:{precision}" in asked
    kept = report.package.metrics["all_views"]["kept"]  # noise may be no riddle to these few weights in integers, or be
    assert ("int8" in report.package.precisions) == kept == ("onnxruntime:int8" in asked)


def test_int8_is_what_an_untold_backend_takes() -> None:
    package = shipped_package("eurosat-rgb")
    assert {"openvino:int8", "onnxruntime:int8"} <= {found.backend for found in check_parity(package)}
    assert open_backend(package, name="openvino").id == "openvino:int8"
    assert open_backend(package, name="onnxruntime").id == "onnxruntime:int8"
    assert open_backend(package, name="openvino", precision="fp32").id == "openvino:fp32"


@pytest.mark.parametrize("alike", [True, False])
def test_int8_that_promotion_would_refuse_is_not_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, alike: bool
) -> None:
    threads, asked = torch.get_num_threads(), []

    def check(draft: ModelPackage) -> None:
        torch.set_num_threads(threads + 1)  # as opening the reference does
        asked.append(draft.precisions)
        if not alike:
            raise PackageError("too far from the reference")

    monkeypatch.setattr(settle_images, "check_parity", check)
    monkeypatch.setattr(settle_images, "TOLERANCE", 1.0)
    held = take(images(), trained.held)
    judge = settle_images._Judge(trained=trained, images=images(), plan=PLAN, held=held, views=held)
    place = judge.in_int8(judge.in_floats(0.0))

    assert asked == [("fp32", "int8")]
    assert (place.int8 is not None, torch.get_num_threads()) == (alike, threads)
    assert place.as_json().get("alike", True) == alike
    assert ("too far from those in fp32" in _int8(place.as_json())) != alike


def test_halved_kernels_give_the_same_answers_in_half_the_bytes() -> None:
    network = build_network("tile-net", {"bands": 3, "classes": 4, "width": 16}).eval()
    whole = onnx_bytes(network, bands=3, chip_px=32, fused=False)
    round_to_half(network)

    exact = onnx_bytes(network, bands=3, chip_px=32, fused=False)
    halved = half_onnx(exact)

    assert len(halved) < 0.55 * len(whole)
    assert np.array_equal(answers(halved), answers(exact))
    assert len(half_weights_bytes(network)) < 0.55 * len(whole)


def answers(graph: bytes) -> np.ndarray:
    import onnxruntime as ort

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    chips = np.random.default_rng(1).standard_normal((2, 3, 32, 32), np.float32)
    return np.asarray(session.run(None, {"chips": chips})[0])


def test_a_network_of_tiles_takes_any_size() -> None:
    network: nn.Module = build_network("tile-net", {"bands": 4, "classes": 5, "width": 16, "blocks": [1, 0, 2]}).eval()
    assert network(torch.zeros(2, 4, 48, 80)).shape == (2, 5)


def test_the_shipped_recipe_names_the_archives_classes() -> None:
    recipe: ImageRecipe = EUROSAT_RGB
    assert [c.name for c in recipe.classes] == [
        *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
        *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
    ]


def test_a_step_of_muon_turns_every_direction_alike() -> None:
    torch.manual_seed(5)
    flat = near_orthogonal(torch.randn(6, 40) @ torch.diag(torch.logspace(0, -2, 40)))
    assert 0.3 < torch.linalg.svdvals(flat).min() <= torch.linalg.svdvals(flat).max() < 1.4
    torch.testing.assert_close(near_orthogonal(flat.T), near_orthogonal(flat).T)


def test_muon_keeps_the_length_of_kernels() -> None:
    kernel = nn.Parameter(torch.randn(4, 2, 3, 3))
    optimiser = Muon([kernel], 0.1, momentum=0.8)
    for _ in range(5):
        optimiser.zero_grad()
        kernel.square().sum().backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
    assert 1.5 < float(kernel.detach().norm()) < 2.5


def test_rough_images_are_some_of_them_and_the_same_for_the_same_seed() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (64, 3, 32, 32), np.uint8)
    labels = np.zeros(64, np.int64)
    still = replace(STILL, rough=0.2)

    def batch(*, roughly: bool) -> torch.Tensor:
        augmenter = Augmenter(still, mean=(0, 0, 0), std=(1, 1, 1), rng=np.random.default_rng(4))
        return augmenter.batch(pixels, labels, px=32, mix=False, roughly=roughly).chips

    plain, rough = batch(roughly=False), batch(roughly=True)
    changed = (plain != rough).flatten(1).any(dim=1).float().mean()
    assert 0.3 < float(changed) < 0.7  # 1 - 0.8^3 is 0.49
    assert torch.equal(rough, batch(roughly=True))
    assert torch.equal(plain, batch(roughly=False))


def test_blur_moves_no_mean_and_leaves_a_plain_chip_alone() -> None:
    chips, side = torch.randn(5, 3, 8, 8), torch.full((5, 1, 1, 1), 0.25)
    assert float(blurred(chips, side).std()) < float(chips.std()) / 1.5
    torch.testing.assert_close(blurred(torch.full((1, 3, 8, 8), 7.0), side[:1]), torch.full((1, 3, 8, 8), 7.0))
    torch.testing.assert_close(blurred(chips, side * 0), chips)
