"""Settings, read once from `SWATH_*` and one optional TOML file; the only reader of the environment."""

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from services.core.api_settings import DAY_S, MOST_CORES, ApiSettings
from services.core.errors import ConfigError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "k": 2**10, "m": 2**20, "g": 2**30}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}
_MOST_BYTES = 2**60

#: Variables of the tests and benchmarks, which are no settings.
_NOT_OURS = ("SWATH_TEST_", "SWATH_BENCH_")
#: What Kubernetes tells every pod of a Service whose name begins with `swath`.
_SERVICE_LINK = re.compile(r"SWATH_(\w+_)?(SERVICE_(HOST|PORT\w*)=|PORT_\d+_|PORT=(tcp|udp|sctp)://)")


def parse_size(text: str) -> int:
    """Bytes from `2GiB`, `700MB` or a plain number.

    Raises:
        ValueError: Not a size.
    """
    digits = text.strip().rstrip("bBiIkKmMgG ")
    unit = text.strip()[len(digits) :].strip().lower()
    try:
        size = float(digits) * _UNITS[unit]
    except (ValueError, KeyError) as exc:
        raise ValueError(f"{text!r} is not a size; write for example 2GiB or 700MB") from exc
    if not 1 <= size <= _MOST_BYTES:
        raise ValueError(f"{text!r} is not a size that memory can have; write for example 2GiB or 700MB")
    return int(size)


def default_home() -> Path:
    """Where embedded defaults keep their files: the platform's user data folder.

    Raises:
        ConfigError: This user has no home, as in many containers.
    """
    try:
        return user_data_path("swath", appauthor=False)
    except RuntimeError as exc:
        raise ConfigError("this user has no home folder to keep things in; set SWATH_HOME to a folder") from exc


def config_file() -> Path | None:
    """The TOML file: `SWATH_CONFIG`, else `swath.toml` in `SWATH_HOME`, else none."""
    named = os.environ.get("SWATH_CONFIG")
    if named:
        return Path(named)
    beside = Path(os.environ.get("SWATH_HOME") or default_home()) / "swath.toml"
    return beside if beside.is_file() else None


def pod_index() -> int:
    """Which pod of a Kubernetes Indexed Job this is; 0 elsewhere.

    Raises:
        ConfigError: The environment names no number.
    """
    told = os.environ.get("JOB_COMPLETION_INDEX", "0")
    if not told.isdecimal():
        raise ConfigError(f"JOB_COMPLETION_INDEX is {told!r}, not the number of a pod; give --index instead")
    return int(told)


class Settings(ApiSettings):
    """What differs between a laptop and a cluster; frozen, and nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="SWATH_", env_ignore_empty=True, frozen=True, extra="forbid")

    home: Path = Field(default_factory=default_home, description="folder of the embedded defaults")
    store: str = Field(default="", description="object store: a folder or s3://bucket/prefix; default HOME/store")
    database_url: str = Field(default="", description="SQLAlchemy URL; default sqlite in HOME")
    database_patience_s: float = Field(
        default=20, gt=0, le=DAY_S, description="how long to wait for a catalog that is away"
    )
    scratch: Path | None = Field(default=None, description="fast local folder for temporary files")

    s3_endpoint_url: str | None = Field(default=None, description="None: the AWS default")
    s3_region: str | None = None
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_ca_bundle: Path | None = Field(default=None, description="CA file of a private endpoint")
    s3_timeout_s: float = Field(default=20, gt=0, le=DAY_S)
    s3_attempts: int = Field(
        default=8, ge=1, le=1000, description="tries of one request before StorageUnavailableError"
    )

    backend: Literal["auto", "openvino", "onnxruntime", "torch"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    workers: int | None = Field(default=None, ge=1, le=MOST_CORES, description="None: one per core")
    memory: str = Field(default="2GiB", description="hard budget of one process")
    lease_s: float = Field(default=60, gt=0, le=DAY_S, description="a worker silent for this long has lost its units")

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str) -> str:
        parse_size(value)
        return value

    @field_validator("home", "scratch", mode="before")
    @classmethod
    def _is_found_from_any_folder(cls, value: object) -> object:
        """Absolute, because the catalog keeps what lies there by its path."""
        if value == "":
            raise ValueError("it is empty, which would mean the current folder; name a folder or leave it out")
        return Path(value).absolute() if isinstance(value, str | Path) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments beat the environment, which beats the file."""
        del dotenv_settings, file_secret_settings
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {k: v for k, v in env_settings.env_vars.items() if not _of_a_service(k, v)}
        path = config_file()
        toml = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *toml)

    @property
    def store_uri(self) -> str:
        """Where objects live."""
        return self.store or str(self.home / "store")

    @property
    def catalog_url(self) -> str:
        """SQLAlchemy URL of the catalog."""
        return self.database_url or f"sqlite:///{quote(str(self.home / 'swath.db'))}"  # a home may be called `50% ?`

    @property
    def scratch_path(self) -> Path:
        """Temporary files; may be emptied between runs."""
        return self.scratch or self.home / "scratch"

    @property
    def memory_bytes(self) -> int:
        """The hard budget in bytes."""
        return parse_size(self.memory)


def load_settings(**overrides: object) -> Settings:
    """Read the settings once.

    Raises:
        ConfigError: A setting or the TOML file is wrong, or there is none of this name; the message names it.
    """
    _check_names()
    try:
        path = config_file()
        if path is not None and not path.is_file():
            raise ConfigError(f"SWATH_CONFIG names {path}, which is not a file")
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{name} is no setting that Swath knows; {_hint(name)}, or take it out of {path}"
            ) from exc
        what = f"setting {_variable(name)} is" if name else "settings are"  # a rule over several has no name
        raise ConfigError(f"{what} wrong: {first['msg'].removeprefix('Value error, ')}") from exc
    except ValueError as exc:  # tomllib's decode error is one
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
    except OSError as exc:
        raise ConfigError(
            f"{exc.filename} cannot be looked at: {exc.strerror}; check SWATH_HOME and SWATH_CONFIG"
        ) from exc


def _check_names() -> None:
    """Refuse a variable that nothing would read: most likely a misspelt one that something would."""
    for name, value in os.environ.items():
        asked = name.upper()  # as pydantic-settings looks for them
        if not value or not asked.startswith("SWATH_") or asked == "SWATH_CONFIG" or asked.startswith(_NOT_OURS):
            continue
        field = asked.removeprefix("SWATH_").lower()
        if field not in Settings.model_fields and not _of_a_service(asked, value):
            raise ConfigError(f"{name} is no setting that Swath knows; {_hint(field, spell=_variable)}, or unset it")


def _of_a_service(variable: str, value: str | None) -> bool:
    return _SERVICE_LINK.match(f"{variable.upper()}={value}") is not None


def _hint(name: str, spell: Callable[[str], str] = str) -> str:
    near = get_close_matches(name.lower(), Settings.model_fields, n=1)
    return f"write {spell(near[0])} if that is meant" if near else "see docs/settings.md for all there are"


def _variable(name: str) -> str:
    return f"SWATH_{name.upper()}"
