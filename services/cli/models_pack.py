"""`swath models pack`: a network of somebody's own becomes a package."""

from dataclasses import dataclass
from pathlib import Path

from services.cli.output import print_facts, print_json, say
from services.core.errors import ObjectNotFoundError, RequestError
from services.core.log import configure_logging
from services.core.model.package_save import check_free
from services.core.settings import load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where the network is: an ONNX file, or a module with its weights."""

    onnx: str | None
    module: str | None
    weights: str | None


def pack_command(network: Network, contract: str, *, out: str, card: str | None, as_json: bool) -> int:
    """Pack an ONNX file, or a module and its weights."""
    from services.training.byo_contract import read_declaration

    onnx, module, weights = network.onnx, network.module, network.weights
    if (onnx is None) == (module is None) or (module is None) != (weights is None):
        raise RequestError("give either --onnx FILE, or --module FILE.py:Class and --weights FILE.safetensors")
    configure_logging(load_settings().log_level)
    declared = read_declaration(Path(contract))
    text = _read_card(card)
    if not (Path(out) / "model.json").is_file():  # a package may be the one that this makes again
        check_free(Path(out))
    from services.training.byo import pack_module, pack_onnx

    if onnx is not None:
        package, parity = pack_onnx(Path(onnx), declared, out=Path(out), card=text)
    else:
        package, parity = pack_module(module or "", Path(weights or ""), declared, out=Path(out), card=text)
    agreement = {p.backend: p.why_not or f"within {p.worst:.1g} of {p.reference}" for p in parity}
    facts = {"name": package.contract.name, "digest": package.digest, "out": str(package.root)}
    if as_json:
        print_json(facts | {"parity": agreement})
    else:
        print_facts(facts | agreement)
        say(f"next: swath models add {package.root}")
    return 0


def _read_card(card: str | None) -> str | None:
    if card is None:
        return None
    try:
        return Path(card).read_text(encoding="utf-8")
    except OSError as exc:
        raise ObjectNotFoundError(f"no card at {card}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise RequestError(f"card {card} is not UTF-8 text; save it as such") from exc
