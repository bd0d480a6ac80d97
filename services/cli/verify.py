"""`swath verify` and `swath lineage`: trust, but recompute."""

from services.cli.output import note, print_facts, print_json, print_table, say, tile_progress
from services.core.errors import CoverageError
from services.core.lineage import trace_pixel
from services.core.log import configure_logging
from services.core.product.publish import verify_files
from services.core.settings import load_settings
from services.core.site import open_site
from services.inference.runs import check_sources, take_up
from services.inference.verify import verify_units


def verify_command(run_id: str, *, sample: int | None, seed: int | None, as_json: bool) -> int:
    """Recompute units, check the published files; 65 if anything differs."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        task = take_up(site, site.catalog.run(run_id).id)
        product = site.catalog.product(task.run.id)
        check_sources(site, task)
        damaged = verify_files(product, settings)
        with tile_progress(task.run.id, task.job.plan.grid.size) as advance:
            verdicts = verify_units(site, task, sample=sample, seed=seed, progress=advance)
        lost = site.ledger.lost(task.run.id)
    differing = [verdict for verdict in verdicts if not verdict.same]
    tiles = sum(verdict.unit.tiles for verdict in verdicts)
    ok = not differing and not damaged and not lost
    if as_json:
        print_json(
            {
                "run_id": task.run.id,
                "tiles_recomputed": tiles,
                "units_recomputed": len(verdicts),
                "units_differing": [verdict.unit.index for verdict in differing],
                "units_lost": lost,
                "files_damaged": damaged,
                "ok": ok,
            }
        )
    elif ok:
        say(
            f"{task.run.id}: {tiles} tiles in {len(verdicts)} units recomputed, all bytes the same; "
            f"{len(product.files) + 1} published files intact"
        )
    elif differing:
        print_table(["unit", "recorded", "recomputed"], [(v.unit.index, v.recorded, v.recomputed) for v in differing])
    for name in damaged:
        note(f"swath: {product.href}/{name} is missing or not what was published")
    if differing:
        note(
            f"swath: {len(differing)} of {len(verdicts)} units of run {task.run.id} came out different; "
            "the scene, the libraries or the processor have changed since"
        )
    if lost:
        note(
            f"swath: {lost} units of run {task.run.id} are lost from the store and were not compared; make them again "
            f"with: swath resume {task.run.id}"
        )
    return 0 if ok else CoverageError.exit_code


def lineage_command(run_id: str, *, lon: float, lat: float, as_json: bool) -> int:
    """Print where the pixel at (lon, lat) came from."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        trace = trace_pixel(site, run_id, lon=lon, lat=lat)
    if as_json:
        print_json(trace)
        return 0
    facts: dict[str, object] = {}
    for name, value in trace.items():
        if isinstance(value, dict):
            facts |= {f"{name}.{key}": inner for key, inner in value.items() if inner is not None}
        elif isinstance(value, list):
            facts[name] = ", ".join(item if isinstance(item, str) else " ".join(item.values()) for item in value)
        else:
            facts[name] = value
    print_facts(facts)
    return 0
