"""A training's state on disk: plain tensors and JSON in one safetensors file, nothing pickled, whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from services.core.errors import RequestError


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], *, state: Mapping[str, Any], inputs: str) -> None:
    """Replace the checkpoint.

    Args:
        path: The file; its folder is made.
        tensors: By name.
        state: All else, as JSON takes it.
        inputs: Digest of what the training depends on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    told = {"inputs": inputs, "state": json.dumps(state)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, draft, metadata=told)
    draft.replace(path)


def read_checkpoint(path: Path, *, inputs: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state, as they were written.

    Raises:
        RequestError: The file is damaged, or of a training with other inputs.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as exc:
        raise RequestError(f"the checkpoint {path} is damaged ({exc}); delete it to begin anew") from exc
    if told.get("inputs") != inputs:
        raise RequestError(
            f"the checkpoint {path} is of other data, settings or code; delete it or choose another --out"
        )
    return tensors, json.loads(told["state"])
