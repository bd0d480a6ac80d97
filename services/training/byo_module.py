"""A user's PyTorch module from its file, with its weights. Importing it runs their code: only where they say so."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from services.core.errors import ObjectNotFoundError, PackageError, RequestError
from services.training.byo_onnx import in_a_line

#: A user's own code may raise anything while it is imported, built or run, or leave; tracebacks are theirs (`--debug`).
USER_ERRORS = (Exception, SystemExit)
_OWN = "swath_user_module"  #: what the file is imported as: its own name may be that of a library


@contextmanager
def loaded_module(target: str, weights: Path, arguments: Mapping[str, Any]) -> Iterator[nn.Module]:
    """Build `FILE.py:Class` with its keywords and load its weights, in evaluation mode.

    As where Python runs the file itself, modules beside it can be imported; so long as the context is open, because
    some are only asked for when the network runs.

    Args:
        target: `net.py:MyNet`.
        weights: `.safetensors`; a `.pt` or `.pth` of plain tensors is read too, and no other pickle.
        arguments: Keywords of the class.

    Raises:
        ObjectNotFoundError: No such file.
        RequestError: Not a module, or its own code fails.
        PackageError: The weights are unsafe, damaged, or not this module's.
    """
    path, name = _parse_target(target)
    with _importing_beside(path):
        network = _build(target, path, name, arguments)
        _load_weights(network, weights, target)
        yield network.eval()


def _parse_target(target: str) -> tuple[Path, str]:
    file, _, name = target.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise RequestError(f"module {target!r} is not FILE.py:Class")
    if not path.is_file():
        raise ObjectNotFoundError(f"no module file at {path}")
    return path, name


@contextmanager
def _importing_beside(path: Path) -> Iterator[None]:
    """What was imported from the file's folder is forgotten afterwards: another's may have a module of that name."""
    folder, places, before = path.resolve().parent, list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = places
        for name in [name for name in set(sys.modules) - before if _lies_in(folder, name)]:
            del sys.modules[name]


def _lies_in(folder: Path, name: str) -> bool:
    """Whether a module is the folder's own, and not of a library that lies deeper in it, as `.venv` may."""
    top = name.partition(".")[0]
    spec = getattr(sys.modules.get(top), "__spec__", None)
    if top == _OWN or spec is None:
        return top == _OWN
    origin = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
    return Path(origin).parent in (folder, folder / top)


def _build(target: str, path: Path, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    spec = importlib.util.spec_from_file_location(_OWN, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"module file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_OWN] = module  # dataclasses look there for what an annotation means
    try:
        spec.loader.exec_module(module)
        network = getattr(module, name)(**arguments)
    except USER_ERRORS as exc:
        raise RequestError(f"{target} cannot be built: {in_a_line(exc)}; see --debug") from exc
    if not isinstance(network, nn.Module):
        raise RequestError(f"{target} makes a {type(network).__name__}, not a torch.nn.Module")
    return network


def _load_weights(network: nn.Module, weights: Path, target: str) -> None:
    state = _read_weights(weights)
    try:
        network.load_state_dict(state)
    except USER_ERRORS as exc:
        last = str(exc).strip().splitlines()[-1:] or [type(exc).__name__]  # torch says there what does not fit
        raise PackageError(f"the weights in {weights.name} do not fit {target}: {last[0].strip()}") from exc


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ObjectNotFoundError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix in {".pt", ".pth"}:
            return _only_tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as exc:
        raise PackageError(
            f"{path.name} is damaged or holds more than tensors, which Swath never unpickles; "
            "save it with safetensors.torch.save_file(module.state_dict(), ...)"
        ) from exc
    raise PackageError(f"weights {path.name} are neither .safetensors nor a .pt of plain tensors; save as safetensors")


def _only_tensors(found: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise PackageError(f"{path.name} is no state dict of tensors; save module.state_dict() alone, as safetensors")
    return found
