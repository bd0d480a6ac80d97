"""Fixtures every tier shares: where the real data is, and an installation of its own for each test."""

import os
from pathlib import Path

import hypothesis
import pytest

from services.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]

# A shared two-core machine is no place for deadlines in milliseconds; speed has its own home in tests/bench.
hypothesis.settings.register_profile("swath", deadline=None)
hypothesis.settings.load_profile("swath")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real imagery, or a skip that says why."""
    folder = Path(os.environ.get("SWATH_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "scenes").is_dir():
        pytest.skip(f"no real imagery: {folder} is absent (set SWATH_TEST_DATA to its folder)")
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own SWATH_* settings or catalog."""
    for name in list(os.environ):
        if name.startswith("SWATH_") and not name.startswith("SWATH_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SWATH_HOME", str(tmp_path / "home"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Embedded defaults in a folder of this test's own."""
    return Settings(home=tmp_path / "home")
