"""Inference libraries: they agree, and a chip's answer does not depend on what is predicted beside it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.core.errors import BackendUnavailableError, ContractError, PackageError
from services.core.model.backends import Backend, Library, Precision, open_backend
from services.core.model.batching import _FIRST_CALL, Chips, FixedBatches, Probabilities, batch_size
from services.core.model.contract import Contract
from services.core.model.package import ModelPackage, shipped_package
from services.core.model.package_save import save_package
from services.training.export import onnx_bytes
from tests.models import CLASSES, PICTURE_CLASSES, make_classifier, make_package, network_files

LIBRARIES: tuple[Library, ...] = ("openvino", "onnxruntime", "torch")
ROOT = Path(__file__).resolve().parents[2]
#: Largest difference of a probability between two libraries in fp32.
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=[32, 64, 256])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Chip sizes whose fixed batches are 8, 8 and 1."""
    return make_package(tmp_path_factory.mktemp("models") / "tiny", chip_px=request.param)


@pytest.fixture(scope="module", params=LIBRARIES)
def backend(request: pytest.FixtureRequest, package: ModelPackage) -> Backend:
    return open_backend(package, name=request.param, precision="fp32", threads=2)


def make_chips(package: ModelPackage, count: int) -> Chips:
    px = package.contract.chip_px
    return np.random.default_rng(1).normal(size=(count, len(package.contract.bands), px, px)).astype(np.float32)


def test_answers_are_probabilities_of_each_class_at_each_pixel(package: ModelPackage, backend: Backend) -> None:
    answers = backend.predict(make_chips(package, 3))
    assert answers.shape == (3, len(CLASSES), package.contract.chip_px, package.contract.chip_px)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5)


def test_a_chip_gets_the_same_bits_whatever_is_beside_it(package: ModelPackage, backend: Backend) -> None:
    chips = make_chips(package, 11)
    together = backend.predict(chips)
    for index in range(len(chips)):
        np.testing.assert_array_equal(backend.predict(chips[index : index + 1])[0], together[index])
    np.testing.assert_array_equal(backend.predict(chips[::-1]), together[::-1])


@pytest.mark.parametrize("count", [2, 8])
def test_where_chips_lie_in_memory_changes_no_bit(package: ModelPackage, backend: Backend, count: int) -> None:
    chips = make_chips(package, count)
    expected = backend.predict(chips)
    room = np.empty(chips.nbytes + 64, np.uint8)
    for offset in range(0, 64, 4):
        moved = room[offset : offset + chips.nbytes].view(np.float32).reshape(chips.shape)
        moved[:] = chips
        np.testing.assert_array_equal(backend.predict(moved), expected)


def test_many_threads_get_the_answers_of_one(package: ModelPackage, backend: Backend) -> None:
    chips = make_chips(package, 6)
    expected, answers = backend.predict(chips), [np.empty(0, np.float32)] * 6

    def ask(index: int) -> None:
        answers[index] = backend.predict(chips[index : index + 1])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    np.testing.assert_array_equal(np.concatenate(answers), expected)


def test_the_first_calls_of_a_fresh_process_do_not_wait_for_each_other() -> None:
    program = """if True:
        import numpy as np
        from services.core.model.backends import open_backend
        from services.core.model.package import shipped_package
        backend = open_backend(shipped_package("landcover-l7"), name="openvino", threads=4)
        print(len(backend.predict(np.zeros((4, 6, 256, 256), np.float32))))
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)
    assert done.stdout.strip() == "4", done.stderr


def test_openvinos_first_call_is_made_while_no_other_may_be(package: ModelPackage) -> None:
    from services.core.model.backend_openvino import OpenVinoBackend

    alone = []

    class Watched(OpenVinoBackend):
        def _infer(self, batch: Chips) -> Probabilities:
            alone.append(_FIRST_CALL.locked())
            return super()._infer(batch)

    Watched(package, precision="fp32", threads=1)
    assert alone[0]


def test_no_chips_get_no_answers(package: ModelPackage, backend: Backend) -> None:
    assert backend.predict(make_chips(package, 0)).shape[0] == 0


def test_the_caller_keeps_its_chips_and_owns_the_answers(package: ModelPackage, backend: Backend) -> None:
    chips = make_chips(package, 2)
    before, first = chips.copy(), backend.predict(chips)
    kept = first.copy()
    backend.predict(chips + 1)
    np.testing.assert_array_equal(chips, before)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 2, 16, 16), (2, 32, 32)])
def test_chips_of_another_shape_are_refused(backend: Backend, shape: tuple[int, ...]) -> None:
    with pytest.raises(ContractError, match="takes float32 chips"):
        backend.predict(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_libraries_agree_with_the_reference_on_the_shipped_network(name: Library) -> None:
    package = shipped_package("landcover-l7")
    chips = make_chips(package, 2)
    reference = open_backend(package, name="torch", threads=2).predict(chips)
    answers = open_backend(package, name=name, precision="fp32", threads=2).predict(chips)
    np.testing.assert_allclose(answers, reference, atol=TOLERANCE)
    assert (answers.argmax(axis=1) == reference.argmax(axis=1)).mean() >= 0.9999


def test_bf16_stays_close_where_the_cpu_computes_it() -> None:
    package = shipped_package("landcover-l7")
    chips = make_chips(package, 2)
    try:
        backend = open_backend(package, name="openvino", precision="bf16", threads=2)
    except BackendUnavailableError as exc:
        pytest.skip(f"no bf16 here: {exc}")
    exact = open_backend(package, name="openvino", precision="fp32", threads=2).predict(chips)
    answers = backend.predict(chips)
    assert np.abs(answers - exact).max() <= 0.05
    assert (answers.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.99


def test_bf16_is_not_used_for_a_package_that_was_not_checked_in_it(tmp_path: Path) -> None:
    package = make_package(tmp_path / "tiny")
    with pytest.raises(BackendUnavailableError, match="bf16"):
        open_backend(package, name="openvino", precision="bf16")
    assert open_backend(package, name="openvino").id == "openvino:fp32"


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_bf16_is_refused_by_libraries_that_lack_it(tmp_path: Path, name: Library) -> None:
    with pytest.raises(BackendUnavailableError, match="set SWATH_BACKEND=openvino for bf16"):
        open_backend(make_package(tmp_path / "tiny"), name=name, precision="bf16")


def test_a_threshold_has_no_network_to_open() -> None:
    with pytest.raises(ContractError, match="threshold"):
        open_backend(shipped_package("brightness"))


def test_the_choice_is_remembered_and_followed(tmp_path: Path) -> None:
    package = make_package(tmp_path / "tiny")
    first = open_backend(package, cache=tmp_path / "cache")
    (note,) = (tmp_path / "cache").iterdir()
    other = "onnxruntime" if first.id.startswith("openvino") else "openvino"
    note.write_text(json.dumps({"library": other}))
    assert open_backend(package, cache=tmp_path / "cache").id == f"{other}:fp32"


@pytest.mark.parametrize("note", ["", "[]", '{"library": "tensorflow"}', '{"library": null}'])
def test_a_damaged_note_only_means_measuring_again(tmp_path: Path, note: str) -> None:
    package = make_package(tmp_path / "tiny")
    open_backend(package, cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_text(note)
    assert open_backend(package, cache=tmp_path / "cache").id in {"openvino:fp32", "onnxruntime:fp32"}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_network_that_breaks_its_contract_is_refused_when_it_is_opened(tmp_path: Path, name: Library) -> None:
    package = make_package(tmp_path / "tiny", network_files(bands=3))
    with pytest.raises(PackageError):
        open_backend(package, name=name)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    files = network_files()
    item = json.loads(files["model.json"])
    item["properties"]["swath:network"]["arguments"]["width"] = 5
    package = make_package(tmp_path / "tiny", files | {"model.json": json.dumps(item).encode()})
    with pytest.raises(PackageError, match="do not fit"):
        open_backend(package, name="torch")


def test_a_network_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    files = network_files()
    item = json.loads(files["model.json"])
    item["properties"]["swath:network"] = {"name": "os.system", "arguments": {}}
    package = make_package(tmp_path / "tiny", files | {"model.json": json.dumps(item).encode()})
    with pytest.raises(PackageError, match="no network"):
        open_backend(package, name="torch")


def contract_of(kind: str, chip_px: int, *, second_look: float | None = None) -> Contract:
    shipped = shipped_package("eurosat-rgb").contract
    return shipped.model_copy(
        update={"kind": kind, "chip_px": chip_px, "stride_px": chip_px, "second_look": second_look}
    )


def test_batches_are_fixed_by_the_contract_alone() -> None:
    sizes = (1, 32, 64, 128, 256, 1024)
    assert [batch_size(contract_of("classification", px)) for px in sizes] == [8, 8, 8, 8, 8, 1]
    assert [batch_size(contract_of("segmentation", px)) for px in sizes] == [8, 8, 8, 2, 1, 1]


class Network:
    """Counts its calls, and answers a chip by its first number: the same in any company, or not."""

    def __init__(self, *, drift: float = 0.0, singly: bool = True) -> None:
        self.calls: list[int] = []
        self._drift, self._singly = drift, singly

    def __call__(self, chips: Chips) -> Probabilities:
        if len(chips) == 1 and not self._singly:
            raise PackageError("takes whole batches only")
        self.calls.append(len(chips))
        answer = np.zeros((len(chips), 10), np.float32)
        answer[:, 0] = chips[:, 0, 0, 0] + (self._drift if len(chips) == 1 else 0)
        return answer


@pytest.mark.parametrize(("count", "calls"), [(1, [1]), (4, [1] * 4), (5, [8]), (9, [8, 1]), (16, [8, 8])])
def test_what_fills_no_batch_goes_chip_by_chip_where_it_is_answered_alike(count: int, calls: list[int]) -> None:
    network = Network()
    assert answered(network, count) == calls


@pytest.mark.parametrize(("count", "calls"), [(6, [1] * 6), (8, [8]), (14, [8] + [1] * 6)])
def test_large_chips_never_fill_a_batch_up_with_nothing(count: int, calls: list[int]) -> None:
    assert answered(Network(), count, chip_px=256) == calls


@pytest.mark.parametrize(("count", "calls"), [(8, [1] * 8), (16, [8, 8])])
def test_large_chips_go_alone_where_a_thread_would_have_nothing_to_do(count: int, calls: list[int]) -> None:
    assert answered(Network(), count, chip_px=256, threads=2) == calls


@pytest.mark.parametrize("chip_px", [64, 256])
@pytest.mark.parametrize("network", [Network(drift=1e-6), Network(singly=False)])
def test_chips_never_go_singly_where_that_changes_an_answer(network: Network, chip_px: int) -> None:
    assert answered(network, 9, chip_px=chip_px) == [8, 8]


def test_where_a_chips_place_in_a_batch_shows_every_chip_goes_alone() -> None:
    class Placed(Network):
        def __call__(self, chips: Chips) -> Probabilities:
            return super().__call__(chips) + np.arange(len(chips), dtype=np.float32)[:, None] * np.float32(1e-3)

    assert answered(Placed(), 9) == [1] * 9
    with pytest.raises(PackageError, match="whole batches only"):
        FixedBatches(contract_of("classification", 64), threads=1, run=Placed(singly=False))


def test_every_call_begins_where_vectors_begin() -> None:
    places = set()

    def run(chips: Chips) -> Probabilities:
        places.add(chips.__array_interface__["data"][0] % 64)
        return np.zeros((len(chips), 10), np.float32)

    batches = FixedBatches(contract_of("classification", 16), threads=1, run=run)
    room = np.zeros(8 * 3 * 16 * 16 + 16, np.float32)
    for offset in range(16):
        for count in (1, 8):
            batches.predict(room[offset : offset + count * 768].reshape(count, 3, 16, 16))
    assert places == {0}


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_sums_that_begin_at_odd_addresses_differ_by_a_last_digit_at_most(tmp_path: Path, name: Library) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, len(PICTURE_CLASSES))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = nn.functional.interpolate(x, size=(17, 23), mode="bicubic")  # 1564 bytes a band
            answers: torch.Tensor = self.head(small.mean((2, 3)))
            return answers

    package = make_classifier(tmp_path / "chance", second_look=None)
    graph = onnx_bytes(Odd(), bands=3, chip_px=64)
    files = {file: package.read(file) for file in package.files} | {"model.onnx": graph}
    backend = open_backend(save_package(tmp_path / "odd", files), name=name)
    chips = make_chips(package, 40)
    together = backend.predict(chips)
    for alone in (np.concatenate([backend.predict(chip[None]) for chip in chips]), backend.predict(chips[::-1])[::-1]):
        np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)


def answered(network: Network, count: int, *, chip_px: int = 64, threads: int = 1) -> list[int]:
    """Sizes of the calls that so many chips take, once it is known how they may go."""
    batches = FixedBatches(contract_of("classification", chip_px), threads=threads, run=network)
    batches.trial.result(timeout=60)
    network.calls.clear()
    chips = np.zeros((count, 3, chip_px, chip_px), np.float32)
    chips[:, 0, 0, 0] = np.arange(count)
    np.testing.assert_array_equal(batches.predict(chips)[:, 0], np.arange(count))
    return network.calls


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_serving_libraries_answer_the_shipped_classifier_singly(name: Library, precision: Precision) -> None:
    package = shipped_package("eurosat-rgb")
    backend = open_backend(package, name=name, precision=precision)
    batches: FixedBatches = vars(backend)["_batches"]
    assert batches.trial.result(timeout=60)
    chips = make_chips(package, 12)
    np.testing.assert_array_equal(
        np.concatenate([backend.predict(chip[None]) for chip in chips]), backend.predict(chips)
    )


class Corners:
    """Answers by a chip's first number, which is another corner in each view: (p, 1 - p, 0 ...)."""

    def __init__(self) -> None:
        self.chips = 0

    def __call__(self, chips: Chips) -> Probabilities:
        self.chips += len(chips)
        answer = np.zeros((len(chips), 10), np.float32)
        answer[:, 0], answer[:, 1] = chips[:, 0, 0, 0], 1 - chips[:, 0, 0, 0]
        return answer


def with_corners(*corners: tuple[float, float, float, float]) -> Chips:
    """One chip per four numbers, in its corners."""
    chips = np.zeros((len(corners), 3, 64, 64), np.float32)
    chips[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] = corners
    return chips


def test_a_doubtful_chip_is_answered_from_all_sides_and_a_sure_one_as_it_lies() -> None:
    network = Corners()
    batches = FixedBatches(contract_of("classification", 64, second_look=0.8), threads=1, run=network)
    batches.trial.result(timeout=60)
    network.chips = 0

    sure, doubtful, sure_of_another = (0.9, 0.1, 0.1, 0.1), (0.7, 0.2, 0.4, 0.5), (0.1, 0.5, 0.5, 0.5)
    answers = batches.predict(with_corners(sure, doubtful, sure_of_another))

    np.testing.assert_allclose(answers[:, :2], [(0.9, 0.1), (0.45, 0.55), (0.1, 0.9)], rtol=1e-6)
    assert network.chips == 3 + 8  # the seven other views fill a batch


def test_without_a_second_look_the_first_one_counts() -> None:
    batches = FixedBatches(contract_of("classification", 64, second_look=None), threads=1, run=Corners())
    assert batches.predict(with_corners((0.5, 0.1, 0.1, 0.1)))[0, 0] == 0.5


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_second_look_depends_on_no_neighbour(tmp_path: Path, name: Library) -> None:
    package = make_classifier(tmp_path / "chance")
    chips = make_chips(package, 20) * np.linspace(0.1, 4, 20, dtype=np.float32)[:, None, None, None]
    backend = open_backend(package, name=name, threads=2)
    together = backend.predict(chips)

    first = open_backend(package.at_first_look, name=name, threads=2).predict(chips)
    again = (first != together).any(axis=1)
    assert 0 < again.sum() < len(chips)
    assert (first.max(axis=1)[again] < (package.contract.second_look or 0)).all()
    for alone in (np.concatenate([backend.predict(chip[None]) for chip in chips]), backend.predict(chips[::-1])[::-1]):
        np.testing.assert_array_equal(alone, together)
