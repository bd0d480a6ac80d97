"""Settings: what each refuses, which names there are, and what an empty or relative one comes to."""

from pathlib import Path
from typing import get_args

import pytest

from services.core.catalog.database import parse_url
from services.core.errors import ConfigError
from services.core.settings import Settings, config_file, load_settings, parse_size

NUMBERS = [
    name
    for name, field in Settings.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
]


@pytest.mark.parametrize(("text", "size"), [("2GiB", 2**31), ("700MB", 700_000_000), ("4096", 4096), ("0.5k", 512)])
def test_a_size_is_read_in_the_units_people_write(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "banana", "0", "-1", "0.5", "nan", "inf", "1e999", "1e400GiB", "1e300"])
def test_a_size_that_no_memory_has_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_the_numbers_among_the_settings_are_found():
    assert {"lease_s", "workers", "s3_attempts", "api_rate_per_s", "api_max_batch"} <= set(NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "-1", "9" * 400])
def test_a_number_that_nobody_means_is_refused_by_name(name, value, monkeypatch):
    monkeypatch.setenv(f"SWATH_{name.upper()}", value)
    with pytest.raises(ConfigError, match=f"setting SWATH_{name.upper()} is wrong"):
        load_settings()


def test_a_lease_may_be_as_long_as_a_day(monkeypatch):
    monkeypatch.setenv("SWATH_LEASE_S", "86400")
    assert load_settings().lease_s == 86_400


def test_a_rate_too_slow_to_say_when_to_ask_again_is_refused(monkeypatch):
    monkeypatch.setenv("SWATH_API_RATE_PER_S", "1e-320")
    with pytest.raises(ConfigError, match="SWATH_API_RATE_PER_S"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SWATH_MEMROY", "write SWATH_MEMORY if that is meant, or unset it"),
        ("SWATH_API_MAX_PIXEL", "write SWATH_API_MAX_PIXELS if that is meant"),
        ("swath_memroy", "write SWATH_MEMORY if that is meant"),
        ("SWATH_QQQ", "see docs/settings.md for all there are"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused_with_the_name_most_like_it(name, said, monkeypatch):
    monkeypatch.setenv(name, "hush-hush")
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{name} is no setting that Swath knows; ")
    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_key_of_the_file_that_nothing_reads_is_refused_with_the_name_most_like_it(tmp_path, monkeypatch):
    file = tmp_path / "swath.toml"
    file.write_text('memroy = "2GiB"\n')
    monkeypatch.setenv("SWATH_CONFIG", str(file))
    with pytest.raises(ConfigError, match=f"write memory if that is meant, or take it out of {file}"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWATH_TEST_DATA", "/data"),
        ("SWATH_BENCH_PEER_PYTHON", "python"),
        ("SWATH_SERVICE_HOST", "10.0.0.1"),
        ("SWATH_POSTGRES_SERVICE_PORT_SQL", "5432"),
        ("SWATH_POSTGRES_PORT", "tcp://10.0.0.1:5432"),
        ("SWATH_POSTGRES_PORT_5432_TCP_ADDR", "10.0.0.1"),
        ("SWATH_API_PORT", "tcp://10.0.0.1:8000"),
        ("SWATH_MEMROY", ""),
    ],
)
def test_what_tests_and_kubernetes_put_into_the_environment_is_no_mistake(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert load_settings() == Settings()


@pytest.mark.parametrize("name", [f"SWATH_{name.upper()}" for name in Settings.model_fields] + ["SWATH_CONFIG"])
def test_an_empty_variable_is_as_good_as_none(name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    expected = load_settings(), config_file()
    monkeypatch.setenv(name, "")
    assert (load_settings(), config_file()) == expected


def test_a_service_that_shares_a_settings_name_leaves_the_word_to_the_file(tmp_path, monkeypatch):
    file = tmp_path / "swath.toml"
    file.write_text("api_port = 8001\n")
    monkeypatch.setenv("SWATH_CONFIG", str(file))
    monkeypatch.setenv("SWATH_API_PORT", "tcp://10.0.0.1:8000")
    assert load_settings().api_port == 8001


def test_an_empty_variable_leaves_the_word_to_the_file(tmp_path, monkeypatch):
    file = tmp_path / "swath.toml"
    file.write_text('memory = "3GiB"\n')
    monkeypatch.setenv("SWATH_CONFIG", str(file))
    monkeypatch.setenv("SWATH_MEMORY", "")
    assert load_settings().memory == "3GiB"


@pytest.mark.parametrize("name", ["home", "scratch"])
def test_an_empty_folder_in_the_file_is_not_the_current_one(name, tmp_path, monkeypatch):
    file = tmp_path / "swath.toml"
    file.write_text(f'{name} = ""\n')
    monkeypatch.delenv("SWATH_HOME")
    monkeypatch.setenv("SWATH_CONFIG", str(file))
    with pytest.raises(ConfigError, match=f"SWATH_{name.upper()} is wrong: it is empty"):
        load_settings()


def test_relative_folders_are_found_again_from_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWATH_HOME", "here")
    monkeypatch.setenv("SWATH_SCRATCH", ".")
    settings = load_settings()
    assert (settings.home, settings.scratch_path) == (tmp_path / "here", tmp_path)
    assert settings.store_uri == str(tmp_path / "here" / "store")


def test_a_home_that_cannot_be_looked_at_is_a_matter_of_configuration(monkeypatch):
    home = Path("/", "x" * 300)
    monkeypatch.setenv("SWATH_HOME", str(home))
    with pytest.raises(ConfigError, match=f"{home}/swath.toml cannot be looked at: File name too long"):
        load_settings()


@pytest.mark.parametrize("name", ["a?b", "50%", "a%41b", "ü x#y"])
def test_a_home_of_any_name_holds_its_own_catalog(tmp_path, name):
    home = tmp_path / name
    assert parse_url(Settings(home=home).catalog_url).database == str(home / "swath.db")
