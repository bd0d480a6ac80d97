"""Which package may take another's place, whatever the command around it."""

import json
from pathlib import Path

import pytest

from services.core.errors import PackageError
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.training.promotion import admit
from tests.models import make_classifier, make_package
from tests.products import make_contract


@pytest.fixture
def threshold(tmp_path: Path) -> ModelPackage:
    item = build_item(make_contract("threshold"), ModelFacts(description="A threshold.", architecture="Threshold"))
    files = {"model.json": json.dumps(item).encode(), "card.md": b"# brightness\n"}
    return save_package(tmp_path / "threshold", files)


def test_a_model_of_another_kind_takes_nobodys_place(tmp_path: Path, threshold: ModelPackage) -> None:
    classifier, segmenter = make_classifier(tmp_path / "classifier"), make_package(tmp_path / "segmenter")
    for candidate, incumbent in ((threshold, classifier), (threshold, segmenter), (classifier, threshold)):
        kinds = f"is a {incumbent.contract.kind} in production and the candidate is a {candidate.contract.kind}"
        with pytest.raises(PackageError, match=kinds):
            admit(candidate, incumbent)


def test_a_threshold_takes_a_thresholds_place_without_figures(tmp_path: Path, threshold: ModelPackage) -> None:
    files = {name: threshold.read(name) for name in threshold.files} | {"card.md": b"# other\n"}
    assert admit(save_package(tmp_path / "other", files), threshold).accuracy is None
