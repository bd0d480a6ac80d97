"""The life of a model by command: packed, added, judged, promoted, refused, replaced, exported."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from services.cli import models_judge
from services.core.catalog.entries import ModelStage
from services.core.catalog.stages import Stages
from services.core.errors import PackageError
from services.core.model.package import ModelPackage, load_package
from services.core.site import Site
from services.training.images import LabelledImages, read_labelled_images
from services.training.promotion import Measure, Trial, admit
from services.training.seen_images import tell_seen
from services.training.split_images import take
from tests.classifiers import (
    CONTRACT,
    GREEN_IS_LOST,
    MODULE,
    RIGHT,
    image_bytes,
    image_files,
    write_folder,
    write_owner_files,
    write_zip,
)
from tests.processes import Answer

Swath = Callable[..., Answer]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`right` and `worse`, two packages of one name, packed once."""
    from services.training.byo import pack_module
    from services.training.byo_contract import read_declaration

    found = {}
    for name, bands in {"right": RIGHT, "worse": GREEN_IS_LOST}.items():
        folder = write_owner_files(tmp_path_factory.mktemp(name), bands=bands)
        declared, target = read_declaration(folder / "contract.toml"), f"{folder / 'net.py'}:Colours"
        pack_module(target, folder / "weights.safetensors", declared, out=folder / "package", card=None)
        found[name] = folder / "package"
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "data.zip", image_files())


def with_metrics(package: Path, target: Path, metrics: dict[str, Any]) -> Path:
    """The same package with other metrics, and so another digest."""
    shutil.copytree(package, target)
    (target / "metrics.json").write_text(json.dumps(metrics))
    return target


def add(swath: Swath, package: Path) -> str:
    answer = swath("models", "add", package, "--who", "ada@desk", "--json")
    assert answer.code == 0, answer.err
    return str(answer.json["digest"])


def promote(swath: Swath, digest: str, *words: object) -> Answer:
    return swath("models", "promote", digest, "--why", "for the test", "--json", *words)


def test_a_module_becomes_a_package_that_maps_a_scene_as_its_owner_meant(swath: Swath, tmp_path: Path) -> None:
    owner, out = write_owner_files(tmp_path / "owner"), tmp_path / "package"
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", out, "--json")

    assert answer.code == 0, answer.err
    assert answer.json["digest"] == load_package(out).digest
    assert answer.json["parity"].keys() == {"openvino:fp32", "onnxruntime:fp32"}
    report = swath("models", "evaluate", out, "--data", write_folder(tmp_path / "data", image_files()), "--json").json
    assert report["accuracy"] == 1.0


def test_an_onnx_file_alone_becomes_a_package_with_its_weights(
    swath: Swath, packed: dict[str, Path], tmp_path: Path
) -> None:
    model = onnx.load(packed["right"] / "model.onnx")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1  # as most exporters leave it
    onnx.save(model, tmp_path / "net.onnx")
    (tmp_path / "c.toml").write_text(CONTRACT.replace('"logits"', '"probabilities"'))

    words = ("--onnx", tmp_path / "net.onnx", "--contract", tmp_path / "c.toml", "--out", tmp_path / "package")
    answer = swath("models", "pack", *words, "--json")

    assert answer.code == 0, answer.err
    assert load_package(tmp_path / "package").sizes["weights.safetensors"] > 0


@pytest.mark.filterwarnings("ignore")  # the exporter of its age
def test_a_batch_of_one_inside_the_graph_is_found_by_trying(swath: Swath, tmp_path: Path) -> None:
    network = nn.Sequential(nn.AvgPool2d(16), nn.Conv2d(3, 3, 1), _One())
    chip = torch.zeros(1, 3, 16, 16)
    torch.onnx.export(network.eval(), (chip,), tmp_path / "net.onnx", dynamo=False, opset_version=17)
    (tmp_path / "c.toml").write_text(CONTRACT)

    words = ("--onnx", tmp_path / "net.onnx", "--contract", tmp_path / "c.toml", "--out", tmp_path / "package")
    answer = swath("models", "pack", *words)

    assert answer.code == 65
    assert "does not take its contract's chips, 8 at a time" in answer.err
    assert not (tmp_path / "package").exists()


class _One(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"logits"', '"probabilities"'), "softmax must be inside the graph"),
        (("chip_px = 16", "chip_px = 0"), "contract.chip_px"),
        (("{ classes = 3 }", "{ colours = 3 }"), "cannot be built: TypeError"),
        (("{ classes = 3 }", "{ classes = 4 }"), "do not fit"),
        (('name = "colours"', 'name = "Colours!"'), "contract.name"),
        (("[contract]", "[contract"), "neither TOML nor JSON"),
        (("mean = [100.0", "mean = [nan"), "contract.mean.0: Input should be a finite number"),
        (('"MIT"', '""'), "license: "),
        (('"Green"', '"Blue"'), "contract.classes: two classes have the same name"),
        (("[contract]", "metrics.held_out.accuracy = 2.0\n[contract]"), "metrics: held_out needs its accuracy"),
        (("[contract]", "metrics.held_out = 'good'\n[contract]"), "metrics: held_out needs its accuracy"),
        (("[contract]", "metrics.f1 = [0.9, nan]\n[contract]"), "metrics: f1.1 is no finite number"),
        (("[contract]", "metrics.day = 2026-11-22\n[contract]"), "metrics: day is neither text nor number"),
    ],
)
def test_a_declaration_that_is_wrong_is_refused_and_leaves_no_package(
    swath: Swath, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    owner = write_owner_files(tmp_path, contract=CONTRACT.replace(*change))
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / "package")

    assert (answer.code, answer.err.count("\n")) == (65, 1)
    assert said in answer.err
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('chips must be 32')", "ValueError: chips must be 32"),
        ("return self.nothead(x)", "AttributeError: 'Colours' object has no attribute 'nothead'"),
        ("assert x.shape[-1] == 32, 'need 32'", "AssertionError: need 32"),
        ("return [x][1]", "IndexError: list index out of range"),
        ("raise RuntimeError()", "px chips: RuntimeError; see --debug"),
        ("return x.mean(dim=(1, 2, 3))", "TypeError: it answers (24,) to 24 chips"),
    ],
)
def test_what_the_owners_code_raises_is_told_as_the_owners(swath: Swath, tmp_path: Path, body: str, said: str) -> None:
    owner = write_owner_files(tmp_path)
    (owner / "net.py").write_text(MODULE.partition("        return self.head")[0] + f"        {body}\n")
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / "package")

    assert answer.code == 65
    assert "cannot be run and exported for 16 px chips" in answer.sentence
    assert said in answer.sentence


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("taken", 65, "taken is a model package already; name another folder, or remove it"),
        ("net.py", 65, "net.py is there and is no model package"),
        ("net.py/x", 78, "its folder cannot be made"),
        ("empty", 0, ""),
    ],
)
def test_where_a_package_is_asked_for_is_looked_at(
    swath: Swath, packed: dict[str, Path], tmp_path: Path, out: str, code: int, said: str
) -> None:
    owner = write_owner_files(tmp_path)
    shutil.copytree(packed["worse"], tmp_path / "taken")
    (tmp_path / "empty").mkdir()
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / out)

    assert (answer.code, said in answer.err) == (code, True)


def test_packing_again_finds_its_own_package(swath: Swath, packed: dict[str, Path], tmp_path: Path) -> None:
    owner = write_owner_files(tmp_path)
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors", "--json")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", packed["right"])

    assert answer.json["digest"] == load_package(packed["right"]).digest


@pytest.mark.parametrize(
    "words",
    [
        ("eurosat", "--data", "absent.zip"),
        ("threshold", "absent.tif"),
        ("segmentation", "absent.tif", "absent-too.tif"),
    ],
)
def test_a_training_looks_where_its_package_shall_lie_before_anything_else(
    swath: Swath, packed: dict[str, Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    finished = swath("train", *words, "--out", packed["right"])
    assert finished.code == 65
    assert "is a model package already; name another folder, or remove it" in finished.sentence

    (tmp_path / "new.training").mkdir()  # of a training that was killed
    (tmp_path / "new.training" / "training.safetensors").write_bytes(b"x")
    assert "absent" in swath("train", *words, "--out", tmp_path / "new").sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("from torch", "raise Exception('a\\nb')\nfrom torch"), "cannot be built: Exception: a;"),
        (("from torch", "class OwnError(Exception): pass\nraise OwnError\nfrom torch"), "cannot be built: OwnError;"),
        (("from torch", "import sys\nsys.exit(3)\nfrom torch"), "cannot be built: SystemExit: 3;"),
        (("from torch", "raise MemoryError\nfrom torch"), "cannot be built: MemoryError;"),
        (("return self", "raise StopIteration('x\\ny')\n        return self"), "16 px chips: StopIteration: x;"),
    ],
)
def test_what_a_module_of_ones_own_raises_is_told_in_one_sentence(
    swath: Swath, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    owner = write_owner_files(tmp_path)
    (owner / "net.py").write_text(MODULE.replace(*change))
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / "package")

    assert (answer.code, answer.err.count("\n")) == (65, 1)
    assert said in answer.err


_BESIDE = """from __future__ import annotations
from dataclasses import dataclass
from layers import strongest


@dataclass
class Shape:
    side: int | None = None


"""


def test_a_module_is_imported_as_python_would_run_it_and_forgotten(swath: Swath, tmp_path: Path) -> None:
    for name, share in {"one": 1, "other": 2}.items():
        owner = write_owner_files(tmp_path / name)
        late = f"from scales import SHARE; assert SHARE == {share}; return strongest"
        (owner / "net.py").write_text(_BESIDE + MODULE.replace("return self.head(x.", f"{late}(self.head, x."))
        (owner / "layers.py").write_text("def strongest(head, x):\n    return head(x)\n")
        (owner / "scales.py").write_text(f"SHARE = {share}\n")
        words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

        answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", owner / "package")

        assert answer.code == 0, answer.err
        assert str(owner) not in sys.path
        assert not {"layers", "scales", "swath_user_module"} & sys.modules.keys()


def test_a_module_whose_layers_share_weights_is_packed_with_each_of_their_names(swath: Swath, tmp_path: Path) -> None:
    owner = write_owner_files(tmp_path)
    (owner / "net.py").write_text(MODULE.replace("nn.Linear(3, classes)", "nn.Linear(3, 3); self.tied = self.head"))
    head = load_file(owner / "weights.safetensors")
    tied = {name.replace("head", "tied"): tensor.clone() for name, tensor in head.items()}
    save_file(head | tied, owner / "weights.safetensors")
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.safetensors")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / "package")

    assert answer.code == 0, answer.err
    assert load_file(tmp_path / "package" / "weights.safetensors").keys() == (head | tied).keys()


def test_a_pickle_that_would_run_code_is_refused(swath: Swath, tmp_path: Path) -> None:
    owner = write_owner_files(tmp_path)
    (owner / "weights.pt").write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR.")
    words = ("--module", f"{owner / 'net.py'}:Colours", "--weights", owner / "weights.pt")

    answer = swath("models", "pack", *words, "--contract", owner / "contract.toml", "--out", tmp_path / "package")

    assert answer.code == 65
    assert "never unpickles" in answer.err
    assert not (tmp_path / "pwned").exists()


def test_adding_twice_is_adding_once_and_makes_a_candidate(swath: Swath, packed: dict[str, Path]) -> None:
    digest = add(swath, packed["right"])

    again = swath("models", "add", packed["right"], "--json").json

    assert (again["digest"], again["stage"], again["added"]) == (digest, "candidate", False)
    listed = {model["digest"]: model["stage"] for model in swath("models", "--json").json["models"]}
    assert listed[digest] == "candidate"


def test_a_name_means_what_is_in_production_and_a_candidate_has_only_its_digest(
    swath: Swath, packed: dict[str, Path], data: Path
) -> None:
    digest = add(swath, packed["right"])
    refused = swath("models", "evaluate", "colours", "--data", data)
    assert refused.code == 65
    assert "no model colours is in production" in refused.err
    assert swath("models", "evaluate", digest[:8], "--data", data, "--json").code == 0

    assert promote(swath, digest[:8]).code == 0
    assert swath("models", "evaluate", "colours", "--data", data, "--json").json["model"]["digest"] == digest


def test_a_better_package_replaces_a_worse_one_and_the_history_tells_who_and_why(
    swath: Swath, packed: dict[str, Path], data: Path
) -> None:
    worse, right = add(swath, packed["worse"]), add(swath, packed["right"])
    assert promote(swath, worse).code == 0

    answer = promote(swath, right, "--data", data, "--who", "bob@desk")

    assert answer.code == 0, answer.err
    assert [(s["digest"], s["stage"]) for s in answer.json["steps"]] == [(worse, "retired"), (right, "production")]
    assert (answer.json["checks"]["accuracy"], answer.json["checks"]["replaced_accuracy"]) == (1.0, round(8 / 12, 6))
    last = swath("models", "show", right, "--json").json["history"][-1]
    assert (last["stage"], last["who"], last["why"]) == ("production", "bob@desk", "for the test")


def test_a_worse_package_may_not_replace_a_better_one(swath: Swath, packed: dict[str, Path], data: Path) -> None:
    right, worse = add(swath, packed["right"]), add(swath, packed["worse"])
    assert promote(swath, right).code == 0

    answer = promote(swath, worse, "--data", data)

    assert (answer.code, answer.err.count("\n")) == (65, 1)
    assert "right in 66.67 % and the other in 100.00 %" in answer.err
    assert swath("models", "show", "colours", "--json").json["digest"] == right


def test_figures_on_the_same_data_are_compared_and_on_other_data_are_not(
    swath: Swath, packed: dict[str, Path], tmp_path: Path
) -> None:
    figures = {"a": ("1" * 64, 0.95), "b": ("1" * 64, 0.9495), "c": ("1" * 64, 0.948), "d": ("2" * 64, 0.99)}
    digests = {
        name: add(
            swath,
            with_metrics(packed["right"], tmp_path / name, {"held_out": {"data": of, "images": 9, "accuracy": share}}),
        )
        for name, (of, share) in figures.items()
    }

    answers = {name: promote(swath, digest) for name, digest in digests.items()}

    assert [answers[name].code for name in "abcd"] == [0, 0, 65, 65]
    assert "94.80 % and the other in 94.95 %" in answers["c"].err
    assert "not measured on the same held-out data; name some with --data" in answers["d"].err


def test_figures_of_nothing_let_nobody_in(packed: dict[str, Path], tmp_path: Path) -> None:
    nothing = {"data": "1" * 64, "pixels": 0, "accuracy": 0.0}
    one, other = (
        load_package(with_metrics(packed[name], tmp_path / name, {"held_out": nothing})) for name in ("right", "worse")
    )
    trial = Trial(data="1" * 64, images=None, measure=lambda _: nothing)
    for held in (trial, None):
        with pytest.raises(PackageError, match="was measured on nothing"):
            admit(one, other, trial=held)


def test_figures_brought_with_the_contract_are_those_that_promotion_compares(
    swath: Swath, packed: dict[str, Path], tmp_path: Path
) -> None:
    told = "\n[metrics.held_out]\ndata = '" + "1" * 64 + "'\nimages = 9\naccuracy = 0.9\n"
    (tmp_path / "c.toml").write_text(CONTRACT.replace('"logits"', '"probabilities"') + told)
    words = ("--onnx", packed["right"] / "model.onnx", "--contract", tmp_path / "c.toml", "--out", tmp_path / "own")
    assert swath("models", "pack", *words).code == 0
    better = with_metrics(
        packed["right"], tmp_path / "b", {"held_out": {"data": "1" * 64, "images": 9, "accuracy": 0.95}}
    )
    assert promote(swath, add(swath, better)).code == 0

    answer = promote(swath, add(swath, tmp_path / "own"))

    assert answer.code == 65
    assert "90.00 % and the other in 95.00 %" in answer.err


def test_data_that_a_package_was_trained_on_judges_nobody(
    swath: Swath, packed: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    judged = swath("models", "evaluate", packed["right"], "--data", data, "--json").json["held_out"]["data"]
    crammed = with_metrics(packed["right"], tmp_path / "crammed", {"training": {"data": judged}})
    first, second = add(swath, packed["worse"]), add(swath, crammed)
    assert promote(swath, first).code == 0

    answer = promote(swath, second, "--data", data)

    assert answer.code == 65
    assert "was trained on the data of --data" in answer.err


def test_part_of_what_a_package_was_trained_on_judges_nobody_and_nothing_is_measured(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    images = read_labelled_images(write_folder(tmp_path / "data", image_files(per_class=30)))
    learned = np.arange(0, len(images), 2)
    crammed = load_package(
        with_metrics(packed["right"], tmp_path / "crammed", {"training": {"seen": tell_seen(images, learned)}})
    )
    incumbent = load_package(packed["worse"])

    def trial(part: LabelledImages, measure: Measure) -> Trial:
        return Trial(data=part.digest, images=part, measure=measure)

    for candidate, other in ((crammed, incumbent), (incumbent, crammed)):
        with pytest.raises(PackageError, match=rf"{crammed.digest[:12]} was trained on images of --data, \w+/\w+\.png"):
            admit(candidate, other, trial=trial(take(images, learned[:20]), _never))
    held = trial(take(images, learned + 1), lambda _: {"data": "1" * 64, "accuracy": 0.9})
    assert admit(crammed, incumbent, trial=held).unlisted == (incumbent.digest,)


def test_a_scene_that_a_package_was_trained_on_judges_nobody_and_is_not_mapped(
    packed: dict[str, Path], tmp_path: Path
) -> None:
    told = {"training": {"data": "1" * 64}}
    crammed = load_package(with_metrics(packed["right"], tmp_path / "crammed", told))
    scene = Trial(data="1" * 64, images=None, measure=_never)
    with pytest.raises(PackageError, match="was trained on the data of --data"):
        admit(crammed, load_package(packed["worse"]), trial=scene)


def _never(package: ModelPackage) -> dict[str, Any]:
    pytest.fail(f"{package.digest} was measured")


def test_whoever_does_not_list_the_images_it_learned_from_is_named(
    swath: Swath, packed: dict[str, Path], data: Path
) -> None:
    worse, right = add(swath, packed["worse"]), add(swath, packed["right"])
    assert promote(swath, worse).code == 0

    answer = swath("models", "promote", right, "--why", "better", "--data", data)

    assert answer.code == 0, answer.err
    for digest in (worse, right):
        assert f"{digest[:12]} does not list the images it learned from" in answer.out


def test_a_promotion_between_the_comparison_and_the_step_is_noticed(
    swath: Swath, packed: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse, right = add(swath, packed["worse"]), add(swath, packed["right"])
    other = add(swath, with_metrics(packed["right"], data.parent / "other", {}))
    assert promote(swath, worse).code == 0
    look = models_judge.incumbent

    def look_and_be_overtaken(site: Site, name: str) -> ModelPackage | None:
        found = look(site, name)
        Stages(site.catalog).promote(other, stage=ModelStage.PRODUCTION, who="eve@desk", why="faster")
        return found

    monkeypatch.setattr(models_judge, "incumbent", look_and_be_overtaken)
    answer = promote(swath, right, "--data", data)

    assert answer.code == 75
    assert "somebody else changed the stages of model colours meanwhile" in answer.err
    assert swath("models", "show", "colours", "--json").json["digest"] == other


def test_a_package_changed_in_the_store_is_not_promoted(swath: Swath, packed: dict[str, Path], tmp_path: Path) -> None:
    digest = add(swath, packed["right"])
    (card,) = (tmp_path / "home").rglob(f"{digest}/card.md")
    card.write_bytes(b"# better than it is\n")

    answer = promote(swath, digest)

    assert answer.code == 65
    assert "files were changed" in answer.err


def test_retiring_needs_no_check_and_leaves_the_name_without_meaning(swath: Swath, packed: dict[str, Path]) -> None:
    digest = add(swath, packed["right"])
    assert promote(swath, digest).code == 0

    assert promote(swath, digest, "--to", "retired").code == 0
    assert promote(swath, digest, "--to", "gone").code == 65
    assert {m["digest"]: m["stage"] for m in swath("models", "--json").json["models"]}[digest] == "retired"


@pytest.mark.parametrize("left", [b"{}", None], ids=["damaged", "gone"])
def test_what_is_damaged_in_production_can_be_retired_and_replaced(
    swath: Swath, packed: dict[str, Path], tmp_path: Path, data: Path, left: bytes | None
) -> None:
    damaged, other = add(swath, packed["worse"]), add(swath, packed["right"])
    assert promote(swath, damaged).code == 0
    for root in (tmp_path / "home").rglob(damaged):
        (root / "model.json").unlink() if left is None else (root / "model.json").write_bytes(left)

    refused = promote(swath, other, "--data", data)
    assert refused.code == 65
    assert f"swath models promote {damaged[:12]} --to retired" in refused.err
    assert promote(swath, "colours", "--to", "retired").code == 0
    assert promote(swath, other, "--data", data).code == 0


def test_a_shipped_model_is_promoted_by_its_name_and_pinned_so(swath: Swath) -> None:
    answer = swath("models", "promote", "brightness", "--why", "pin what this release ships", "--json")

    assert answer.code == 0, answer.err
    shown = swath("models", "show", "brightness", "--json").json
    assert [(s["digest"], s["stage"]) for s in answer.json["steps"]] == [(shown["digest"], "production")]
    assert swath("models", "promote", "brightness", "--why", "again", "--json").json["steps"] == []


def test_an_exported_package_is_the_same_package(swath: Swath, packed: dict[str, Path], tmp_path: Path) -> None:
    digest = add(swath, packed["right"])

    assert swath("models", "export", digest[:12], "--out", tmp_path / "copy").code == 0
    assert swath("models", "export", digest[:12], "--onnx", "--out", tmp_path / "net.onnx").code == 0

    assert load_package(tmp_path / "copy").digest == digest
    assert (tmp_path / "net.onnx").read_bytes() == (packed["right"] / "model.onnx").read_bytes()
    assert swath("models", "export", digest[:12], "--onnx", "--out", tmp_path / "net.onnx").code == 65


def test_an_evaluation_writes_its_numbers_and_its_picture(
    swath: Swath, packed: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    answer = swath("models", "evaluate", packed["worse"], "--data", data, "--out", tmp_path / "judged", "--altered")

    assert answer.code == 0, answer.err
    assert "66.67 %" in answer.out
    assert "JPEG again, quality 75: 66.67 % right" in answer.out
    assert json.loads((tmp_path / "judged" / "evaluation.json").read_text())["accuracy"] == round(8 / 12, 6)
    with Image.open(tmp_path / "judged" / "confusion.png") as picture:
        assert min(picture.size) > 3 * 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "landcover-l7", "--data", "DATA"), "names pixels; give --data SCENE and --labels"),
        (("evaluate", "brightness", "--data", "DATA"), "is a threshold"),
        (("evaluate", "abc", "--data", "DATA"), "no model abc"),
        (("evaluate", "landcover-l7", "--data", "a.tif", "--labels", "b.tif", "--altered"), "leave one of them out"),
        (("add", "absent"), "no model package at absent"),
        (("pack", "--contract", "absent.toml", "--out", "x"), "give either --onnx"),
        (("pack", "--onnx", "x", "--contract", "absent.toml", "--out", "x"), "no contract at absent.toml"),
        (("show", "ffffffffffff"), "no model ffffffffffff"),
        (("nosuch",), "nosuch"),
    ],
)
def test_a_mistake_is_one_sentence(swath: Swath, data: Path, words: tuple[str, ...], said: str) -> None:
    answer = swath("models", *(data if word == "DATA" else word for word in words))

    assert (answer.code, answer.err.count("\n")) == (65, 1)
    assert said in answer.err


def test_an_evaluation_keeps_busy_only_the_cores_that_it_may_use(
    swath: Swath, packed: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5})
    answer = swath("models", "evaluate", packed["right"], "--data", data, "--json")
    assert answer.json["threads"] == 3


def test_an_image_that_is_damaged_is_named(swath: Swath, packed: dict[str, Path], tmp_path: Path) -> None:
    bad = write_zip(tmp_path / "bad.zip", image_files() | {"Red/cut.png": image_bytes((1, 2, 3))[:-150]})

    answer = swath("models", "evaluate", packed["right"], "--data", bad)

    assert answer.code == 65
    assert "Red/cut.png is damaged" in answer.err
