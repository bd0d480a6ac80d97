"""Settings, read once from `SWATH_*` and one optional TOML file; the only reader of the environment."""

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from services.core.api_settings import ApiSettings
from services.core.errors import ConfigError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "k": 2**10, "m": 2**20, "g": 2**30}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_size(text: str) -> int:
    """Bytes from `2GiB`, `700MB` or a plain number.

    Raises:
        ValueError: Not a size.
    """
    digits = text.strip().rstrip("bBiIkKmMgG ")
    unit = text.strip()[len(digits) :].strip().lower()
    try:
        size = int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError) as exc:
        raise ValueError(f"{text!r} is not a size; write for example 2GiB or 700MB") from exc
    if size <= 0:
        raise ValueError(f"{text!r} is not a size; it must be more than nothing")
    return size


def default_home() -> Path:
    """Where embedded defaults keep their files: the platform's user data folder."""
    return user_data_path("swath", appauthor=False)


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

    model_config = SettingsConfigDict(env_prefix="SWATH_", frozen=True, extra="forbid")

    home: Path = Field(default_factory=default_home, description="folder of the embedded defaults")
    store: str = Field(default="", description="object store: a folder or s3://bucket/prefix; default HOME/store")
    database_url: str = Field(default="", description="SQLAlchemy URL; default sqlite in HOME")
    database_patience_s: float = Field(default=20, gt=0, description="how long to wait for a catalog that is away")
    scratch: Path | None = Field(default=None, description="fast local folder for temporary files")

    s3_endpoint_url: str | None = Field(default=None, description="None: the AWS default")
    s3_region: str | None = None
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_ca_bundle: Path | None = Field(default=None, description="CA file of a private endpoint")
    s3_timeout_s: float = Field(default=20, gt=0)
    s3_attempts: int = Field(default=8, ge=1, description="tries of one request before StorageUnavailableError")

    backend: Literal["auto", "openvino", "onnxruntime", "torch"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    workers: int | None = Field(default=None, ge=1, description="None: one per core")
    memory: str = Field(default="2GiB", description="hard budget of one process")
    lease_s: float = Field(default=60, gt=0, description="a worker silent for this long has lost its units")

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str) -> str:
        parse_size(value)
        return value

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
        return self.database_url or f"sqlite:///{self.home / 'swath.db'}"

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
        ConfigError: A setting or the TOML file is wrong; the message names it.
    """
    path = config_file()
    if path is not None and not path.is_file():
        raise ConfigError(f"SWATH_CONFIG names {path}, which is not a file")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors()[0]
        name = ".".join(str(part) for part in first["loc"]).upper()
        what = f"setting SWATH_{name} is" if name else "settings are"  # a rule over several has no name
        raise ConfigError(f"{what} wrong: {first['msg'].removeprefix('Value error, ')}") from exc
    except ValueError as exc:  # tomllib's decode error is one
        raise ConfigError(f"{path} is not valid TOML: {exc}") from exc
