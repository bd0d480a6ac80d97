"""`swath doctor`: look at everything a run leans on, before it leans on it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import psutil

from services.cli.output import print_json, say
from services.core.entry_point import worst_code
from services.core.errors import ConfigError, PermanentError, RetryableError, SwathError
from services.core.findings import Finding
from services.core.log import configure_logging
from services.core.machine import memory_limit_bytes, usable_cores
from services.core.settings import Settings, config_file, load_settings

#: Free scratch below this is reported: a 10,980 x 10,980 map needs about half of it while it is assembled.
LEAST_SCRATCH_BYTES = 2 * 2**30
#: The shipped package that was checked in every number format.
_CLAIMS_ALL = "eurosat-rgb"


def doctor_command(*, as_json: bool) -> int:
    """Run every check even when one fails; 78 if something must be put right, 75 if it may pass by itself."""
    findings = _look()
    wrong = [RetryableError if finding.passing else ConfigError for finding in findings if not finding.ok]
    code = worst_code(kind.exit_code for kind in wrong)
    if as_json:
        print_json({"ok": code == 0, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            lead, style = ("ok  ", "green") if finding.ok else ("FAIL", "red")
            say(f" {finding.name}  {finding.detail}", lead=lead, style=style)
            if finding.advice:
                say(f"     {finding.advice}")
    return code


def _look() -> list[Finding]:
    """What every check found, each fault once: a check is left out where one that it leans on has failed."""
    try:
        settings = load_settings()
    except SwathError as exc:
        return [_fault("settings", exc)]
    configure_logging(settings.log_level)
    found: dict[str, list[Finding]] = {}
    for name, (check, leans_on) in _CHECKS.items():
        if all(finding.ok for other in leans_on for finding in found[other]):
            found[name] = list(_run(name, check, settings))
    return [finding for findings in found.values() for finding in findings]


def _run(name: str, check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except SwathError as exc:  # what was found before is kept
        yield _fault(name, exc)


def _fault(name: str, exc: SwathError) -> Finding:
    return Finding(name=name, ok=False, detail=str(exc), passing=exc.exit_code == RetryableError.exit_code)


def _settings(settings: Settings) -> Iterator[Finding]:
    path = config_file()
    yield Finding(
        name="settings", ok=True, detail=f"from {path or 'the environment alone'}; home {settings.home}", advice=None
    )


def _store(settings: Settings) -> Iterator[Finding]:
    from services.core.site import open_own_store
    from services.core.storage import check_store

    yield from check_store(open_own_store(settings))


def _database(settings: Settings) -> Iterator[Finding]:
    from services.core.catalog.catalog import open_catalog

    catalog = open_catalog(settings.catalog_url, patience_s=settings.database_patience_s)
    try:
        yield from catalog.check()
    finally:
        catalog.close()


def _machine(settings: Settings) -> Iterator[Finding]:
    cores = usable_cores()
    workers = settings.workers or cores
    yield Finding(
        name="threads",
        ok=workers <= 2 * cores,
        detail=f"{workers} workers on {cores} cores",
        advice=None if workers <= 2 * cores else f"set SWATH_WORKERS to {cores}: more only wait for each other",
    )
    yield _memory(settings)


def _memory(settings: Settings) -> Finding:
    from services.core.flow.plan import FLOOR_BYTES, MIN_CACHE_BYTES

    available = min(psutil.virtual_memory().available, memory_limit_bytes() or sys.maxsize)
    least = FLOOR_BYTES + MIN_CACHE_BYTES  # and something for its arrays
    advice = None
    if settings.memory_bytes > available:
        advice = "lower SWATH_MEMORY, or the kernel may kill a run that the budget allows"
    if settings.memory_bytes <= least:
        advice = f"set SWATH_MEMORY to 512MiB or more: the smallest run needs more than {least / 2**20:.0f} MiB"
    return Finding(
        name="memory",
        ok=advice is None,
        detail=f"budget {settings.memory}, {available / 2**30:.1f} GiB available",
        advice=advice,
    )


def _inference(settings: Settings) -> Iterator[Finding]:
    """Back ends; and where the settings ask for one or for a number format, whether a network opens in it."""
    from services.core.model.backends import installed_backends, open_configured
    from services.core.model.package import shipped_package

    names = installed_backends()
    yield Finding(
        name="inference",
        ok=bool(names),
        detail=f"back ends: {', '.join(names) or 'none'}",
        advice=None if names else "pip install 'swath[inference]'; only threshold models run without it",
    )
    if names and (settings.backend, settings.precision) != ("auto", "auto"):
        backend = open_configured(shipped_package(_CLAIMS_ALL), settings, threads=1)
        yield Finding(name="network", ok=True, detail=f"a shipped one opens in {backend.id}")


def _service(settings: Settings) -> Iterator[Finding]:
    """What `swath serve` would answer with."""
    from services.core.site import open_site

    with open_site(settings) as site:
        try:
            contract = site.models.find(settings.api_model).contract
        except PermanentError as exc:
            raise ConfigError(f"setting SWATH_API_MODEL is wrong: {exc}") from exc
    fits = contract.kind == "classification"
    yield Finding(
        name="service",
        ok=fits,
        detail=f"SWATH_API_MODEL is {contract.name}, for {contract.kind}",
        advice=None
        if fits
        else "name a model for classification, such as eurosat-rgb: /predict answers with one class",
    )


def _scratch(settings: Settings) -> Iterator[Finding]:
    from services.core.site import make_scratch

    folder = make_scratch(settings)
    free = shutil.disk_usage(folder).free
    yield Finding(
        name="scratch",
        ok=free >= LEAST_SCRATCH_BYTES,
        detail=f"{free / 2**30:.1f} GiB free in {folder}",
        advice=None if free >= LEAST_SCRATCH_BYTES else "free some space or set SWATH_SCRATCH to a larger disk",
    )


#: Each with those that must have found nothing wrong before.
_CHECKS: dict[str, tuple[Callable[[Settings], Iterator[Finding]], tuple[str, ...]]] = {
    "settings": (_settings, ()),
    "store": (_store, ()),
    "database": (_database, ()),
    "machine": (_machine, ()),
    "inference": (_inference, ()),
    "scratch": (_scratch, ()),
    "service": (_service, ("store", "database", "scratch")),
}
