"""The command that repeats a run from any folder: what its manifest and lineage tell, whoever started it."""

import shlex
from collections.abc import Mapping

from services.core.names import absolute
from services.core.records import NO_BACKEND, Naming, Run


def run_command(
    naming: Naming, *, model: str, out: str | None = None, options: Mapping[str, object] | None = None
) -> str:
    """`swath run ...`, without what only says how fast.

    Args:
        naming: Of the scene, as `services.core.ingest.naming_of` tells it.
        model: `ModelPackage.pin`: what a name or a folder means may have changed when the command is used.
        out: None: the default, which is the installation's.
        options: Of the command, by their names; those that are None or empty are left out, lists become commas.
    """
    words = ["swath", "run", *naming.paths]
    for name, path in naming.bands:
        words += ["--band", f"{name}={path}"]
    chosen: dict[str, object] = {
        "--model": model,
        "--out": None if out is None else absolute(out),
        "--bands": naming.names,
        "--crs": naming.crs,
        "--bounds": naming.bounds,
        **(options or {}),
    }
    for option, value in chosen.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
        words += [] if text in (None, "") else [option, str(text)]
    return shlex.join(words)


def repeating_command(run: Run) -> str:
    """A run's command, under the library and number format that it worked with: elsewhere others may be the fastest.

    This is added where the command is told, so that it holds for runs of older versions as well.
    """
    if run.backend == NO_BACKEND:
        return run.command
    library, _, precision = run.backend.partition(":")
    return f"SWATH_BACKEND={library} SWATH_PRECISION={precision} {run.command}"
