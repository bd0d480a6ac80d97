"""Parity: a package whose libraries disagree, or whose answers are no probabilities, is found out."""

from pathlib import Path

import numpy as np
import pytest

from services.core.errors import PackageError
from services.core.model import parity
from services.core.model.backends import Backend, open_backend
from services.core.model.package import ModelPackage
from services.core.model.parity import check_parity, comparable, fixed_chips
from tests.models import make_package, network_files


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("parity") / "tiny")


def test_a_sound_package_agrees_with_torch_in_every_library(package: ModelPackage) -> None:
    found = {one.backend: one for one in check_parity(package)}

    assert found.keys() == {"openvino:fp32", "onnxruntime:fp32"}
    assert {one.reference for one in found.values()} == {"torch:fp32"}
    assert all(one.worst is not None and 0 < one.worst < 1e-4 for one in found.values())


def test_weights_of_another_network_beside_the_graph_are_found_out(tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    files = network_files()
    weights = load(files["weights.safetensors"])
    weights["head.bias"] = weights["head.bias"] + np.float32([1, 0, 0])

    with pytest.raises(PackageError, match="answers differently in openvino:fp32 than in torch:fp32"):
        check_parity(make_package(tmp_path / "tiny", files | {"weights.safetensors": save(weights)}))


def test_a_claim_of_bf16_is_compared_or_said_to_be_out_of_reach(tmp_path: Path) -> None:
    package = make_package(tmp_path / "tiny", network_files(precisions=("fp32", "bf16")))

    claimed = {one.backend: one for one in check_parity(package)}["openvino:bf16"]

    assert (claimed.worst is None) == (claimed.why_not is not None)
    assert ("onnxruntime", "bf16") not in comparable(package)


def test_answers_from_outside_take_the_place_of_the_reference(package: ModelPackage) -> None:
    chips = fixed_chips(package.contract)
    shape = (len(chips), 3, *chips.shape[2:])

    with pytest.raises(PackageError, match="than in its own module"):
        check_parity(package, expected=np.full(shape, 1 / 3, np.float32))
    with pytest.raises(PackageError, match="sum to between 6 and 6"):
        check_parity(package, expected=np.full(shape, 2, np.float32))
    with pytest.raises(PackageError, match="has no number for some chips of noise"):
        check_parity(package, expected=np.full(shape, np.nan, np.float32))


def test_a_network_that_looks_at_its_whole_batch_is_found_out(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Neighbourly:
        """Thinks otherwise of a chip that is alone."""

        def __init__(self, backend: Backend) -> None:
            self._backend, self.id = backend, backend.id

        def predict(self, chips: np.ndarray) -> np.ndarray:
            answers = self._backend.predict(chips)
            return answers[:, ::-1] if len(chips) == 1 else answers

    monkeypatch.setattr(parity, "open_backend", lambda *args, **kwargs: Neighbourly(open_backend(*args, **kwargs)))
    with pytest.raises(PackageError, match="answers a chip by itself otherwise than beside others"):
        check_parity(package)


def test_the_chips_are_the_same_for_everyone(package: ModelPackage) -> None:
    np.testing.assert_array_equal(fixed_chips(package.contract), fixed_chips(package.contract))
