"""Counts of what a network is given and answers, and how far two of them are apart."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.drift import measure_drift, run_statistics
from services.core.errors import ContractError, CoverageError, ObjectNotFoundError, PackageError
from services.core.model.contract import Contract, ModelClass
from services.core.model.package import load_package
from services.core.model.statistics import Histogram, Statistics, Tally, parse_statistics
from services.core.records import Product
from services.core.settings import Settings
from tests.models import make_package, network_files
from tests.products import RUN_ID, make_run

CLASSES = tuple(ModelClass(value=v, name=n, color="#000000") for v, n in enumerate(("land", "water", "cloud")))
PIXELS = Contract(
    name="m", kind="segmentation", bands=("red", "nir"), units="reflectance", mean=(0.1, 0.3), std=(0.05, 0.1),
    chip_px=32, stride_px=32, classes=CLASSES,
)  # fmt: skip
RULE = Contract(name="r", kind="threshold", bands=(), units="dn", classes=CLASSES[:2], threshold=0.5)


def chips(count: int, *, shift: float = 0.0, spread: float = 1.0, seed: int = 1) -> np.ndarray:
    values = np.random.default_rng(seed).normal(shift, spread, (count, 2, 32, 32))
    return values.astype(np.float32)


def answers(count: int, *, sure: float = 2.0, seed: int = 1) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, sure, (count, 3, 32, 32))
    shares = np.exp(logits)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def counted(given: np.ndarray, answered: np.ndarray, contract: Contract = PIXELS) -> Statistics:
    tally = Tally(contract)
    tally.see(given, answered)
    return tally.statistics()


def verdicts(seen: Statistics, training: Statistics) -> dict[str, str]:
    return {measure.name: measure.verdict for measure in measure_drift(seen, training)}


def test_bands_are_counted_in_the_contracts_units_and_every_sample_once() -> None:
    found = counted(chips(3), answers(3))
    red = found.bands["red"]
    assert (red.edges[0], red.edges[32], red.edges[-1]) == pytest.approx((0.1 - 4 * 0.05, 0.1, 0.1 + 4 * 0.05))
    assert sum(red.counts) == sum(found.score.counts) == sum(found.classes.values()) == 3 * 16 * 16


def test_values_fall_between_the_edges_that_hold_them() -> None:
    given = np.full((1, 2, 32, 32), -10, np.float32)
    given[:, 1] = 0.13
    found = counted(given, answers(1))
    assert found.bands["red"].counts[0] == 16 * 16
    assert found.bands["nir"].counts[32 + 2] == 16 * 16  # from 0.125 to 0.25 standard deviations


def test_pixels_that_were_not_usable_are_not_counted() -> None:
    given = chips(2)
    given[0] = 0
    found = counted(given, answers(2))
    assert sum(found.bands["nir"].counts) == sum(found.classes.values()) == 16 * 16


@given(st.permutations(range(6)), st.integers(1, 5))
def test_counts_add_up_the_same_in_any_order_and_grouping(order: list[int], cut: int) -> None:
    given, answered = chips(6), answers(6)
    whole, first, second = Tally(PIXELS), Tally(PIXELS), Tally(PIXELS)
    whole.see(given, answered)
    first.see(given[order[:cut]], answered[order[:cut]])
    second.see(given[order[cut:]], answered[order[cut:]])
    assert Tally(PIXELS, first.counts + second.counts).statistics() == whole.statistics()


def test_chips_that_are_named_whole_are_counted_once_each() -> None:
    contract = PIXELS.model_copy(update={"kind": "classification"})
    found = counted(chips(2), np.array([[0.1, 0.8, 0.1], [0.9, 0.05, 0.05]], np.float32), contract)
    assert found.classes == {"land": 1, "water": 1, "cloud": 0}
    assert sum(found.score.counts) == 2


def test_a_thresholds_scores_are_counted_without_bands() -> None:
    tally = Tally(RULE)
    tally.see_scores(np.array([0.1, 0.5, 0.7], np.float32))
    found = tally.statistics()
    assert (found.bands, found.classes) == ({}, {"land": 1, "water": 2})
    assert sum(found.score.counts) == 3


def test_statistics_come_back_from_json_as_they_went() -> None:
    found = counted(chips(2), answers(2))
    assert parse_statistics(found.encode(), "here") == found
    assert found.encode() == counted(chips(2), answers(2)).encode()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"bands": {}, "score": {"edges": [1, 0], "counts": [0, 0, 0]}, "classes": {"a": 1}}',
     b'{"bands": {}, "score": {"edges": [0], "counts": [-1, 0]}, "classes": {"a": 1}}'],
)  # fmt: skip
def test_a_file_that_holds_no_statistics_is_refused_with_its_name(body: bytes) -> None:
    with pytest.raises(PackageError, match="statistics of x"):
        parse_statistics(body, "statistics of x")


def test_counts_of_another_contract_are_refused() -> None:
    with pytest.raises(PackageError, match="not those of model m"):
        Tally(PIXELS, Tally(RULE).counts)


def test_a_package_may_carry_statistics_and_no_nonsense_in_their_place(tmp_path: Path) -> None:
    files = network_files()
    made = counted(chips(2), answers(2)).encode()
    assert "statistics.json" in make_package(tmp_path / "good", {**files, "statistics.json": made}).files
    with pytest.raises(PackageError, match=r"statistics\.json"):
        make_package(tmp_path / "bad", {**files, "statistics.json": b"{}"})
    assert "statistics.json" not in load_package(make_package(tmp_path / "without", files).root).files


def test_other_draws_of_the_same_data_are_stable() -> None:
    found = measure_drift(counted(chips(40, seed=2), answers(40, seed=2)), counted(chips(40), answers(40)))
    assert {measure.verdict for measure in found} == {"stable"}
    assert max(measure.distance for measure in found) < 0.1


def test_a_band_that_has_moved_is_named_and_the_others_are_not() -> None:
    moved = chips(40)
    moved[:, 1] += 1.0
    found = verdicts(counted(moved, answers(40)), counted(chips(40, seed=2), answers(40, seed=2)))
    assert found == {"red": "stable", "nir": "drifted", "score": "stable", "classes": "stable"}


@pytest.mark.parametrize("shift", [-9.0, 9.0])
def test_what_training_never_saw_has_drifted_as_far_as_can_be(shift: float) -> None:
    training = counted(chips(4, spread=0.01), answers(4))
    red = measure_drift(counted(chips(4, shift=shift), answers(4)), training)[0]
    assert (red.verdict, red.distance) == ("drifted", 1.0)


def test_the_same_data_is_at_no_distance() -> None:
    found = counted(chips(4), answers(4))
    assert {(m.psi, m.distance) for m in measure_drift(found, found)} == {(0.0, 0.0)}


@given(st.lists(st.integers(0, 50), min_size=12, max_size=12), st.lists(st.integers(0, 50), min_size=12, max_size=12))
def test_psi_is_never_negative_and_the_distance_is_bounded(now: list[int], before: list[int]) -> None:
    def made(counts: list[int]) -> Statistics:
        score = Histogram(edges=tuple(range(11)), counts=(counts[0] + 1, *counts[1:]))
        return Statistics(bands={}, score=score, classes={"a": 1})

    measure = measure_drift(made(now), made(before))[0]
    assert measure.psi >= 0
    assert 0 <= measure.distance <= 1


def test_less_sure_answers_show_in_the_score() -> None:
    found = verdicts(counted(chips(40), answers(40, sure=0.3)), counted(chips(40), answers(40, sure=3.0)))
    assert found["score"] == "drifted"


def test_a_handful_of_tiles_is_no_drift_of_the_classes_and_many_are() -> None:
    def made(*counts: int) -> Statistics:
        classes = dict(zip("abcdefghij", counts, strict=True))
        return Statistics(bands={}, score=Histogram(edges=(0.5,), counts=(5, 5)), classes=classes)

    training = made(*[1000] * 10)
    few, many = (measure_drift(made(*[2 * n, 0] * 5), training)[1] for n in (1, 100))
    assert few.distance == many.distance
    assert (few.verdict, many.verdict) == ("stable", "drifted")


def test_nothing_counted_cannot_be_compared() -> None:
    with pytest.raises(ContractError, match="nothing was counted"):
        measure_drift(Tally(PIXELS).statistics(), counted(chips(1), answers(1)))


def test_other_classes_cannot_be_compared() -> None:
    other = PIXELS.model_copy(update={"classes": (*CLASSES[:2], ModelClass(value=2, name="ice", color="#ffffff"))})
    with pytest.raises(ContractError, match="other bands or classes"):
        measure_drift(counted(chips(1), answers(1), other), counted(chips(1), answers(1)))


def published(tmp_path: Path, **changes: object) -> Product:
    """A product of which nothing but its statistics lies there."""
    body = counted(chips(1), answers(1)).encode()
    (tmp_path / RUN_ID).mkdir()
    (tmp_path / RUN_ID / "statistics.json").write_bytes(body)
    values = {
        "run_id": RUN_ID,
        "href": f"{tmp_path}/{RUN_ID}",
        "manifest_sha256": "a" * 64,
        "files": {"statistics.json": hashlib.sha256(body).hexdigest()},
        "coverage": {},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Product.model_validate({**values, **changes})


def test_a_products_statistics_are_read_as_they_were_published(tmp_path: Path, settings: Settings) -> None:
    found = run_statistics(make_run(64), published(tmp_path), settings)
    assert found == counted(chips(1), answers(1))


def test_a_run_from_before_there_were_statistics_says_how_to_get_them(tmp_path: Path, settings: Settings) -> None:
    product = published(tmp_path, files={"map.tif": "b" * 64})
    with pytest.raises(ObjectNotFoundError, match="kept no statistics; run it again with: swath run"):
        run_statistics(make_run(64), product, settings)


def test_statistics_that_were_changed_are_not_believed(tmp_path: Path, settings: Settings) -> None:
    product = published(tmp_path)
    (tmp_path / RUN_ID / "statistics.json").write_bytes(counted(chips(2), answers(2)).encode())
    with pytest.raises(CoverageError, match="is not what was published"):
        run_statistics(make_run(64), product, settings)
