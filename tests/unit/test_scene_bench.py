"""What a thread lends the operators: no answer of a network passes that is no number."""

import numpy as np
import pytest

from services.core.errors import UnanswerableError
from services.core.raster.open import open_scene
from services.core.scene_bench import SceneBench
from tests.scenes import write_scene


class Overflowing:
    """A network that has no number for large inputs."""

    id = "overflowing:fp32"

    def predict(self, chips):
        with np.errstate(over="ignore", invalid="ignore"):
            huge = (chips * chips).sum(axis=(1, 2, 3))
            return np.stack([huge - huge, huge / huge], axis=1)


def test_an_answer_that_is_no_number_is_an_error_that_names_the_remedy(tmp_path):
    scene = open_scene([str(write_scene(tmp_path / "scene.tif"))])
    bench = SceneBench(scene, scene.bands, Overflowing())
    chips = np.ones((2, 3, 8, 8), np.float32)
    assert np.isfinite(bench.predict("m" * 64, chips)).all()
    chips[1, 0, 0, 0] = 1e30  # a fill value that nobody declared
    with pytest.raises(UnanswerableError, match=r"values of up to 1e\+30 .* declare the nodata"):
        bench.predict("m" * 64, chips)
