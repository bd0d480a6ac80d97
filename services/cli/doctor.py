"""`swath doctor`: look at everything a run leans on, before it leans on it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import psutil

from services.cli.output import print_json, say
from services.core.entry_point import worst_code
from services.core.errors import ConfigError, RetryableError, SwathError
from services.core.findings import Finding
from services.core.log import configure_logging
from services.core.machine import memory_limit_bytes, usable_cores
from services.core.settings import Settings, config_file, load_settings

#: Free scratch below this is reported: a 10,980 x 10,980 map needs about half of it while it is assembled.
LEAST_SCRATCH_BYTES = 2 * 2**30


def doctor_command(*, as_json: bool) -> int:
    """Run every check even when one fails; 78 if something must be put right, 75 if it may pass by itself."""
    codes: list[int] = []
    findings: list[Finding] = []
    for name, check in _CHECKS.items():
        made, code = _run(name, check)
        findings += made
        codes.append(code)
    code = worst_code(codes)
    if as_json:
        print_json({"ok": code == 0, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            lead, style = ("ok  ", "green") if finding.ok else ("FAIL", "red")
            say(f" {finding.name}  {finding.detail}", lead=lead, style=style)
            if finding.advice:
                say(f"     {finding.advice}")
    return code


def _run(name: str, check: Callable[[Settings], Iterator[Finding]]) -> tuple[list[Finding], int]:
    findings: list[Finding] = []
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        for finding in check(settings):
            findings.append(finding)  # noqa: PERF402  # what was found before a failure is kept
    except SwathError as exc:
        passing = exc.exit_code == RetryableError.exit_code
        findings.append(Finding(name=name, ok=False, detail=str(exc), advice=None, passing=passing))
    wrong = [RetryableError if finding.passing else ConfigError for finding in findings if not finding.ok]
    return findings, worst_code(kind.exit_code for kind in wrong)


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
    from services.core.model.backends import installed_backends

    cores = usable_cores()
    workers = settings.workers or cores
    yield Finding(
        name="threads",
        ok=workers <= 2 * cores,
        detail=f"{workers} workers on {cores} cores",
        advice=None if workers <= 2 * cores else f"set SWATH_WORKERS to {cores}: more only wait for each other",
    )
    available = min(psutil.virtual_memory().available, memory_limit_bytes() or sys.maxsize)
    fits = settings.memory_bytes <= available
    yield Finding(
        name="memory",
        ok=fits,
        detail=f"budget {settings.memory}, {available / 2**30:.1f} GiB available",
        advice=None if fits else "lower SWATH_MEMORY, or the kernel may kill a run that the budget allows",
    )
    names = installed_backends()
    yield Finding(
        name="inference",
        ok=bool(names),
        detail=f"back ends: {', '.join(names) or 'none'}",
        advice=None if names else "pip install 'swath[inference]'; only threshold models run without it",
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


_CHECKS = {
    "settings": _settings,
    "store": _store,
    "database": _database,
    "machine": _machine,
    "scratch": _scratch,
}
