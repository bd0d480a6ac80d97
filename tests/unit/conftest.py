"""What several unit tests of the online service start from."""

import pytest

from services.api.images import PictureRules
from services.core.model.contract import Contract
from tests.models import make_classifier


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return make_classifier(tmp_path_factory.mktemp("package") / "m").contract


@pytest.fixture(scope="module")
def rules(contract: Contract) -> PictureRules:
    return PictureRules(contract)
