"""What a user says about a network of their own: one TOML or JSON file."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from services.core.errors import ObjectNotFoundError, RequestError
from services.core.model.contract import Contract
from services.core.records import Record

_CONTRACT_LIMIT = 2**20


class Declaration(Record):
    """The contract, and what Swath cannot see in the network."""

    contract: Contract
    #: Whether the network's last layer is the softmax, or Swath has to add it.
    answers: Literal["logits", "probabilities"]
    description: str = Field(min_length=1)
    architecture: str = Field(min_length=1)  #: for catalogs: `ResNet-18`
    license: str = Field(min_length=1)  #: SPDX id
    arguments: dict[str, Any] = Field(default_factory=dict)  #: keywords of the module's class
    #: Copied to metrics.json; `held_out` with `data`, `accuracy` is what promotion compares.
    metrics: dict[str, Any] = Field(default_factory=dict)

    @field_validator("metrics")
    @classmethod
    def _are_figures(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        _check_sayable(metrics, "")
        held_out = metrics.get("held_out", {"accuracy": 0})
        accuracy = held_out.get("accuracy") if isinstance(held_out, dict) else None
        if isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
            raise ValueError("held_out needs its accuracy, a number from 0 to 1")
        return metrics


def _check_sayable(value: object, where: str) -> None:
    """Raise unless JSON can say it: NaN, infinity and TOML's dates are not among that."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        _check_sayable(each, f"{where}.{key}".lstrip("."))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is no finite number")
    if not isinstance(value, dict | list | str | int | float | None):
        raise ValueError(f"{where} is neither text nor number; write it as text")  # noqa: TRY004  # pydantic takes no other


def read_declaration(path: Path) -> Declaration:
    """Read and check `contract.toml` or `contract.json`.

    Raises:
        ObjectNotFoundError: No such file.
        RequestError: Not valid, and where.
    """
    if not path.is_file():
        raise ObjectNotFoundError(f"no contract at {path}; docs/models.md shows one")
    if path.stat().st_size > _CONTRACT_LIMIT:
        raise RequestError(f"contract {path.name} has more than {_CONTRACT_LIMIT} bytes, which no contract needs")
    try:
        text = path.read_text(encoding="utf-8")
        told = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return Declaration.model_validate(told)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        said = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"contract {path.name} is not usable: {where}: {said}") from exc
    except ValueError as exc:  # of both parsers, and of bytes that are not UTF-8
        raise RequestError(f"contract {path.name} is neither TOML nor JSON: {exc}") from exc
