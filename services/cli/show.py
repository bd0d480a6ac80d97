"""`swath scenes` and `swath runs`: what the catalog knows."""

import re
from datetime import datetime
from typing import Any

from services.cli.output import print_facts, print_json, print_table, say
from services.core.command import repeating_command
from services.core.errors import RequestError
from services.core.log import configure_logging
from services.core.names import public_href
from services.core.records import Run, Scene
from services.core.settings import load_settings
from services.core.site import Site, open_site

#: Columns that a narrow terminal can do without, the least needed first: `show ID` tells them too.
_SPARE = ("bands", "gsd", "tiles", "error", "acquired", "crs")
_WKT_NAME = re.compile(r'\s*\w+\s*\[\s*"([^"]*)"')


def list_or_show(noun: str, show: str | None, name: str | None, *, limit: int, as_json: bool) -> int:
    """List, or show one: `swath runs`, `swath runs show ID`."""
    if (show is None) != (name is None) or show not in (None, "show"):
        raise RequestError(f"write `swath {noun}` for the list, or `swath {noun} show ID` for one")
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        if name is not None:
            return _show(_one(site, noun, name), as_json=as_json)
        columns, rows, records = _many(site, noun, limit)
    if as_json:
        print_json({noun: records})
    elif rows:
        print_table(columns, rows, spare=_SPARE)
    else:
        say(f"no {noun} yet")
    return 0


def _show(record: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(record)
    else:
        print_facts({key: value for key, value in record.items() if value is not None})
    return 0


def _one(site: Site, noun: str, name: str) -> dict[str, Any]:
    if noun == "scenes":
        return scene_json(site.catalog.scene(name))
    run = site.catalog.run(name)
    product = site.catalog.find_product(run.id)
    return {
        **run_json(run),
        "progress": site.ledger.progress(run.id).model_dump(mode="json"),
        "product": None if product is None else product.model_dump(mode="json"),
    }


def _many(site: Site, noun: str, limit: int) -> tuple[list[str], list[list[object]], list[dict[str, Any]]]:
    if noun == "scenes":
        scenes = site.catalog.scenes(limit=limit)
        rows: list[list[object]] = [
            [s.id, "x".join(map(str, s.shape)), f"{s.gsd_m:g} m", crs_name(s.crs), len(s.bands), _minute(s.acquired_at)]
            for s in scenes
        ]
        return ["scene", "pixels", "gsd", "crs", "bands", "acquired"], rows, [scene_json(s) for s in scenes]
    runs = site.catalog.runs(limit=limit)
    rows = [[r.id, r.state.value, r.scene_id, r.model_name, r.plan.get("tiles", "-"), r.error or ""] for r in runs]
    return ["run", "state", "scene", "model", "tiles", "error"], rows, [run_json(r) for r in runs]


def crs_name(crs: str) -> str:
    """A CRS in a word or two: its code, or what its WKT calls it."""
    found = _WKT_NAME.match(crs)
    return (found[1] or "unnamed") if found else crs


def run_json(run: Run) -> dict[str, Any]:
    """A run as it is told: its record, with a command that repeats it wherever its library is."""
    return run.model_dump(mode="json") | {"command": repeating_command(run)}


def _minute(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def scene_json(scene: Scene) -> dict[str, Any]:
    """A scene as it is told: its record, without the signatures that open its files."""
    told = scene.model_dump(mode="json")
    assets = [
        asset | {"href": public_href(asset["href"]), "sidecars": [public_href(href) for href in asset["sidecars"]]}
        for asset in told["assets"]
    ]
    return told | {"source": public_href(scene.source), "assets": assets}
