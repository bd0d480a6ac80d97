"""`swath models`: what this installation knows, and what each package may be used for."""

import getpass
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.cli.output import note, print_facts, print_json, print_table, say
from services.core.catalog.entries import ModelStage, RegisteredModel, StageChange
from services.core.catalog.stages import Stages
from services.core.errors import ObjectNotFoundError, PackageError, RequestError, StorageRefusedError
from services.core.log import configure_logging
from services.core.model.package import ModelPackage, load_package, shipped_names, shipped_package
from services.core.model.package_save import save_package
from services.core.settings import load_settings
from services.core.site import Site, open_site


def list_models(*, limit: int, as_json: bool) -> int:
    """Shipped packages first, then registered ones, newest first."""
    with open_here() as site:
        shipped = [shipped_package(name) for name in shipped_names()]
        models = [_row(package, "shipped") for package in shipped]
        known = {package.digest for package in shipped}
        models += [
            {"name": model.name, "kind": model.kind, "digest": model.digest, "source": model.href}
            for model in site.catalog.models(limit=limit)
            if model.digest not in known
        ]
        models = models[:limit]
        stages = Stages(site.catalog).stages([model["digest"] for model in models])
    for model in models:
        model["stage"] = stages.get(model["digest"])
    if as_json:
        print_json({"models": models})
    else:
        rows = [[m["name"], m["kind"], m["digest"][:12], m["stage"] or "-", _origin(m["digest"])] for m in models]
        print_table(["model", "kind", "digest", "stage", "source"], rows, spare=("source", "kind"))
    return 0


def show_model(wanted: str, *, as_json: bool) -> int:
    """Everything about one package: contract, files, precisions, card, and its name's history."""
    with open_here() as site:
        package = _find(site, wanted)
        name = package.contract.name
        history = [step for step in Stages(site.catalog).stage_history(name) if step.digest == package.digest]
        facts = _row(package, _origin(package.digest))
    facts |= {
        "stage": history[-1].stage if history else None,
        "precisions": list(package.precisions),
        "files": {name: {"sha256": package.files[name], "bytes": package.sizes[name]} for name in package.files},
        "contract": package.contract.model_dump(mode="json"),
        "history": [step.model_dump(mode="json") for step in history],
        "card": package.card,
    }
    if as_json:
        print_json(facts)
        return 0
    _show(facts, package, history)
    return 0


def add_model(source: str, *, who: str | None, as_json: bool) -> int:
    """Keep a package in the store under its digest, as a candidate; again, nothing changes."""
    with open_here() as site:
        shipped = source in shipped_names()
        if shipped and Path(source).is_dir():
            note(f"swath: {source} is a model that Swath ships, and that was added; for the folder, write ./{source}")
        package = shipped_package(source) if shipped else load_package(Path(source))
        site.models.keep(package, thorough=True)
        stages = Stages(site.catalog)
        steps = stages.add_candidate(package.digest, who=who or person(), why="added")
        facts = _row(package, "registered") | {"stage": stages.stage(package.digest), "added": bool(steps)}
    _tell(facts, as_json=as_json, then=f"next: swath models promote {package.digest[:12]} --why ...")
    return 0


def export_model(wanted: str, *, out: str, only_onnx: bool, as_json: bool) -> int:
    """Write a package to a folder, or its network alone to a file."""
    target = Path(out)
    with open_here() as site:
        package = _find(site, wanted)
    if only_onnx:
        _write_new(target, package.read("model.onnx"))
    else:
        save_package(target, {name: package.read(name) for name in package.files})
    _tell(_row(package, "exported") | {"out": str(target)}, as_json=as_json)
    return 0


def promotable(site: Site, wanted: str) -> RegisteredModel:
    """A registered package, or a shipped one by its name, which is registered by it; no file of it is looked at."""
    if wanted in shipped_names() and Stages(site.catalog).production(wanted) is None:
        site.models.keep(shipped_package(wanted))
        wanted = shipped_package(wanted).digest
    return site.models.registered(wanted)


def incumbent(site: Site, name: str) -> ModelPackage | None:
    """What a name means here and a successor is compared with; None: nothing.

    Raises:
        PackageError: It is damaged or gone, so that nothing can be compared with it.
    """
    digest = site.models.named_digest(name)
    if digest is None:
        return None
    try:
        return site.models.by_digest(digest)
    except (ObjectNotFoundError, PackageError) as exc:
        raise PackageError(
            f"what is in production as {name} cannot be compared with ({exc}); make it good, or retire it first: "
            f"swath models promote {digest[:12]} --to retired --why ..."
        ) from exc


def parse_stage(text: str) -> ModelStage:
    """A stage by name.

    Raises:
        RequestError: There is none such.
    """
    try:
        return ModelStage(text)
    except ValueError as exc:
        raise RequestError(f"--to {text} is no stage; write {', '.join(ModelStage)}") from exc


def person() -> str:
    """`user@host` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def open_here() -> Site:
    """This installation, as its settings say."""
    settings = load_settings()
    configure_logging(settings.log_level)
    return open_site(settings)


def _find(site: Site, wanted: str) -> ModelPackage:
    """As `ModelRegistry.find`, and by a name that is known but not in production: showing it harms nobody."""
    try:
        return site.models.find(wanted)
    except ObjectNotFoundError as exc:
        with suppress(ObjectNotFoundError):
            newest = site.catalog.model(wanted)
            return site.models.by_digest(newest.digest)
        raise exc from None


def _origin(digest: str) -> str:
    shipped = {shipped_package(name).digest for name in shipped_names()}
    return "shipped" if digest in shipped else "registered"


def _row(package: ModelPackage, source: str) -> dict[str, Any]:
    contract = package.contract
    return {"name": contract.name, "kind": contract.kind, "digest": package.digest, "source": source}


def _write_new(target: Path, body: bytes) -> None:
    if target.exists():
        raise RequestError(f"{target} is there already; name another file, or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
    except OSError as exc:
        raise StorageRefusedError(f"{target} cannot be written: {exc.strerror}") from exc


def _tell(facts: dict[str, Any], *, as_json: bool, then: str | None = None) -> None:
    if as_json:
        print_json(facts)
        return
    print_facts({key: value for key, value in facts.items() if value is not None})
    if then is not None:
        say(then)


def _show(facts: dict[str, Any], package: ModelPackage, history: list[StageChange]) -> None:
    print_facts({key: facts[key] or "-" for key in ("name", "kind", "digest", "stage", "source")})
    print_facts({"precisions": ", ".join(package.precisions), "bands": ", ".join(package.contract.bands) or "all"})
    print_table(["file", "bytes", "sha256"], [[n, package.sizes[n], package.files[n][:12]] for n in package.files])
    if history:
        rows = [[step.stage, f"{step.created_at:%Y-%m-%d %H:%M}", step.who, step.why] for step in history]
        print_table(["stage", "when (UTC)", "who", "why"], rows, prose="why")
    say(package.card)
