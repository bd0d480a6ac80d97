"""A network of somebody's own becomes a package: checked, tried in every library here, and refused in one sentence."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.core.errors import ObjectNotFoundError, PackageError, RequestError
from services.core.model.batching import Probabilities
from services.core.model.contract import Contract
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.core.model.parity import Parity, check_parity, fixed_chips
from services.training.byo_contract import Declaration

if TYPE_CHECKING:
    from torch import nn

_LARGEST = 2**30


def pack_onnx(source: Path, declared: Declaration, *, out: Path, card: str | None) -> tuple[ModelPackage, list[Parity]]:
    """Make a package of an ONNX file.

    Args:
        source: The file, with its weights inside.
        declared: From `read_declaration`.
        out: Folder to make.
        card: Markdown for people; None: one is written from the declaration.

    Returns:
        The package, and how its libraries agree.

    Raises:
        PackageError: Unsafe, damaged, or not what the declaration says.
        ObjectNotFoundError: No such file.
    """
    from services.training.byo_onnx import fit_onnx, weights_of_onnx

    _check_has_network(declared.contract)
    if not source.is_file():
        raise ObjectNotFoundError(f"no ONNX file at {source}")
    if source.stat().st_size > _LARGEST:
        raise PackageError(f"{source.name} is larger than the {_LARGEST} bytes a network may have")
    body = fit_onnx(source.read_bytes(), declared.contract, add_softmax=declared.answers == "logits")
    return _save({"model.onnx": body, "weights.safetensors": weights_of_onnx(body)}, declared, out=out, card=card)


def pack_module(
    target: str, weights: Path, declared: Declaration, *, out: Path, card: str | None
) -> tuple[ModelPackage, list[Parity]]:
    """Make a package of a PyTorch module: `FILE.py:Class`, whose file is imported and so executed.

    Args:
        target: `net.py:MyNet`.
        weights: Its state dict as safetensors.
        declared: From `read_declaration`.
        out: Folder to make.
        card: As in `pack_onnx`.

    Raises:
        PackageError: The weights do not fit, the network cannot be exported, or it is not what the declaration says.
        RequestError: The module's own code fails.
    """
    from services.training.byo_module import USER_ERRORS, loaded_module
    from services.training.byo_onnx import fit_onnx, in_a_line
    from services.training.export import onnx_bytes, weights_bytes

    contract = declared.contract
    _check_has_network(contract)
    softmax = declared.answers == "logits"
    with loaded_module(target, weights, declared.arguments) as network:
        try:
            expected = _answers(network, contract, softmax=softmax)
            body = onnx_bytes(network, bands=len(contract.bands), chip_px=contract.chip_px, softmax=softmax)
            held = weights_bytes(network)
        except USER_ERRORS as exc:
            raise PackageError(
                f"{target} cannot be run and exported for {contract.chip_px} px chips: {in_a_line(exc)}; see --debug"
            ) from exc
    files = {"model.onnx": fit_onnx(body, contract, add_softmax=False), "weights.safetensors": held}
    return _save(files, declared, out=out, card=card, expected=expected)


def _answers(network: "nn.Module", contract: Contract, *, softmax: bool) -> Probabilities:
    """What the module itself makes of the chips that every backend is compared on."""
    import torch

    with torch.inference_mode():
        chips = torch.from_numpy(fixed_chips(contract))
        answers = network(chips)
        if not isinstance(answers, torch.Tensor):
            raise TypeError(f"it answers with a {type(answers).__name__}, not one tensor")
        if answers.ndim < 2:
            raise TypeError(f"it answers {tuple(answers.shape)} to {len(chips)} chips, and each needs its own classes")
        probabilities: Probabilities = (torch.softmax(answers, dim=1) if softmax else answers).numpy()
    return probabilities


def _save(
    network: Mapping[str, bytes],
    declared: Declaration,
    *,
    out: Path,
    card: str | None,
    expected: Probabilities | None = None,
) -> tuple[ModelPackage, list[Parity]]:
    """Write it beside, try it in every library, and only then put it where it was asked for."""
    files = dict(network)
    facts = ModelFacts(
        description=declared.description,
        architecture=declared.architecture,
        total_parameters=_count_parameters(files["weights.safetensors"]),
        license=declared.license,
    )
    files["model.json"] = json.dumps(build_item(declared.contract, facts), indent=2).encode()
    files["card.md"] = (card or _plain_card(declared)).encode()
    if declared.metrics:
        files["metrics.json"] = json.dumps(declared.metrics, indent=2).encode()
    with tempfile.TemporaryDirectory(prefix="swath-pack-") as folder:
        draft = save_package(Path(folder) / declared.contract.name, files)
        parity = check_parity(draft, expected=expected)
    return save_package(out, files), parity


def _check_has_network(contract: Contract) -> None:
    if contract.kind == "threshold":
        raise RequestError("a contract of kind threshold has no network to pack; see `swath train threshold`")


def _count_parameters(weights: bytes) -> int:
    from safetensors.numpy import load

    return sum(array.size for array in load(weights).values())


def _plain_card(declared: Declaration) -> str:
    contract = declared.contract
    rows = "\n".join(f"| {c.value} | {c.name} |" for c in contract.classes)
    measured = json.dumps(declared.metrics, indent=2) if declared.metrics else "Nothing was measured."
    return f"""# {contract.name}

{declared.description}

{declared.architecture}, {contract.kind}; bands {", ".join(contract.bands)} in {contract.units}, chips of
{contract.chip_px} px. Licence: {declared.license}. Brought from outside: Swath checked its form, not its training.

| value | class |
|---|---|
{rows}

## Measured

{measured}
"""
