"""The command that repeats a run from any folder: what its manifest and lineage tell, whoever started it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.names import absolute, public_href
from services.core.records import NO_BACKEND, Run, Scene


def run_command(
    paths: Sequence[str],
    *,
    model: str,
    out: str | None = None,
    bands: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> str:
    """`swath run ...`, without what only says how fast, and without signatures of URLs.

    Args:
        paths: The scene, as it was named; empty with `bands`.
        model: A name, a digest or a package folder.
        out: None: the default, which is the installation's.
        bands: Name to file.
        options: Of the command, by their names; those that are None or empty are left out, lists become commas.
    """
    words = ["swath", "run", *(public_href(absolute(path)) for path in paths)]
    for name, path in (bands or {}).items():
        words += ["--band", f"{name}={public_href(absolute(path))}"]
    chosen: dict[str, object] = {"--model": absolute(model) if Path(model).is_dir() else model}
    chosen |= {"--out": None if out is None else absolute(out), **(options or {})}
    for name, value in chosen.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
        words += [] if text in (None, "") else [name, str(text)]
    return shlex.join(words)


def bands_of(scene: Scene) -> dict[str, str]:
    """The `--band` files that a scene was made of, by name; none where its source opens it by itself."""
    hrefs = [public_href(asset.href) for asset in scene.assets]
    if len(hrefs) == 1 or scene.source != " ".join(hrefs):
        return {}
    return {band.name: hrefs[band.asset] for band in scene.bands}


def repeating_command(run: Run) -> str:
    """A run's command, under the library and number format that it worked with: elsewhere others may be the fastest.

    This is added where the command is told, so that it holds for runs of older versions as well.
    """
    if run.backend == NO_BACKEND:
        return run.command
    library, _, precision = run.backend.partition(":")
    return f"SWATH_BACKEND={library} SWATH_PRECISION={precision} {run.command}"
