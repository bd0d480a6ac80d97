"""The `swath` command: arguments, and nothing else. Each command imports its work when called, so help is quick."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from services.cli.keys_app import keys_app
from services.cli.models_app import models_app
from services.cli.options import (
    BandFiles,
    BandNames,
    Bounds,
    Box,
    Crs,
    Debug,
    Engine,
    Gsd,
    Json,
    Limit,
    Memory,
    Model,
    Out,
    Scenes,
    TilePx,
    Workers,
    leave,
)
from services.cli.train_app import train_app
from services.core.boxes import parse_bbox

app = typer.Typer(
    name="swath",
    help="Satellite scenes into maps people can trust.",
    epilog="Example: swath run scene.tif --model brightness --out out",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train_app, name="train")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")


@app.command(epilog="Example: swath run scene.tif --model brightness --out out")
def run(
    model: Model,
    scenes: Scenes = None,
    out: Out = None,
    band: BandFiles = None,
    bands: BandNames = None,
    crs: Crs = None,
    bounds: Bounds = None,
    tile_px: TilePx = None,
    gsd: Gsd = None,
    bbox: Box = None,
    workers: Workers = None,
    memory: Memory = None,
    engine: Engine = "local",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn scenes into published maps."""
    from services.cli.run import RunOptions, run_scenes

    del debug
    options = RunOptions(
        model=model, out=out, tile_px=tile_px, gsd_m=gsd, bbox=parse_bbox(bbox), engine=engine, as_json=as_json
    )
    leave(run_scenes(_sources(scenes, band, bands, crs, bounds), options, workers=workers, memory=memory))


@app.command(epilog="Example: swath plan scene.tif --model landcover-l7")
def plan(
    model: Model,
    scenes: Scenes = None,
    band: BandFiles = None,
    bands: BandNames = None,
    crs: Crs = None,
    bounds: Bounds = None,
    tile_px: TilePx = None,
    gsd: Gsd = None,
    bbox: Box = None,
    workers: Workers = None,
    memory: Memory = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run would take: tiles, units, bytes, peak memory, seconds. Runs nothing."""
    from services.cli.run import RunOptions, plan_scenes

    del debug
    options = RunOptions(model=model, tile_px=tile_px, gsd_m=gsd, bbox=parse_bbox(bbox), as_json=as_json)
    leave(plan_scenes(_sources(scenes, band, bands, crs, bounds), options, workers=workers, memory=memory))


@app.command(epilog="Example: swath ingest LC08_folder/ s3://bucket/scene.tif")
def ingest(
    scenes: Scenes = None,
    band: BandFiles = None,
    bands: BandNames = None,
    crs: Crs = None,
    bounds: Bounds = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Validate, hash and register scenes; refuse with the reason."""
    from services.cli.ingest import ingest_scenes

    del debug
    leave(ingest_scenes(_sources(scenes, band, bands, crs, bounds), as_json=as_json))


@app.command(epilog="Example: swath resume r-20260101T120000-1a2b3c")
def resume(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    workers: Workers = None,
    memory: Memory = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that stopped; finished units are kept."""
    from services.cli.run import resume_run

    del debug
    leave(resume_run(run_id, as_json=as_json, workers=workers, memory=memory))


@app.command(epilog="Example: swath verify r-20260101T120000-1a2b3c --sample 20")
def verify(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    every: Annotated[bool, typer.Option("--all", help="Recompute every tile.")] = False,
    sample: Annotated[int, typer.Option(help="Recompute this many tiles, chosen at random.", min=1)] = 10,
    seed: Annotated[int | None, typer.Option(help="Choose the same tiles again.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Recompute tiles and compare them, and the published files, with what the run recorded."""
    from services.cli.verify import verify_command

    del debug
    leave(verify_command(run_id, sample=None if every else sample, seed=seed, as_json=as_json))


@app.command(epilog="Example: swath drift r-20260101T120000-1a2b3c")
def drift(run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False, debug: Debug = False) -> None:
    """Say whether a run's scene is like its model's training data."""
    from services.cli.drift import drift_command

    del debug
    leave(drift_command(run_id, as_json=as_json))


@app.command(epilog="Example: swath lineage r-20260101T120000-1a2b3c --lon 5.2 --lat 43.9")
def lineage(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    lon: Annotated[float, typer.Option(help="Degrees east.", min=-180, max=180)],
    lat: Annotated[float, typer.Option(help="Degrees north.", min=-90, max=90)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say where one pixel of a map came from."""
    from services.cli.verify import lineage_command

    del debug
    leave(lineage_command(run_id, lon=lon, lat=lat, as_json=as_json))


def _listing(noun: str, example: str) -> Callable[..., None]:
    def command(
        show: Annotated[str | None, typer.Argument(metavar="[show]")] = None,
        name: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
        limit: Limit = 50,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        from services.cli.show import list_or_show

        del debug
        leave(list_or_show(noun, show, name, limit=limit, as_json=as_json))

    command.__doc__ = f"List the {noun} the catalog knows, or `show ID` one of them."
    return app.command(noun, epilog=f"Example: {example}")(command)


_listing("scenes", "swath scenes show rgb-byte-0a1b2c3d4e --json")
_listing("runs", "swath runs")


@app.command(epilog="Example: swath serve --port 8000")
def serve(
    port: Annotated[int | None, typer.Option(help="Default 8000; 0: any free one.", min=0, max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Default 127.0.0.1; any other wants keys.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="What /predict answers with.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP: a page, an API, and probes; until Ctrl-C."""
    from services.cli.serve import serve_command
    from services.core.entry_point import end_process

    del debug
    end_process(serve_command(port=port, host=host, model=model, as_json=as_json))


@app.command(epilog="Example: swath doctor --json")
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Check settings, store, database, threads and memory, and say what to do."""
    from services.cli.doctor import doctor_command

    del debug
    leave(doctor_command(as_json=as_json))


@app.command(epilog="Example: swath demo --out demo-out")
def demo(
    scene: Annotated[str | None, typer.Argument(metavar="[SCENE]", help="Any scene; else one is found.")] = None,
    out: Out = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Default: landcover-l7 where it fits.")] = None,
    debug: Debug = False,
) -> None:
    """Run the main job once and show a small picture of the map."""
    from services.cli.demo import demo_command

    del debug
    leave(demo_command(scene or None, out=out, model=model or None))


def _sources(
    scenes: list[str] | None, band: list[str] | None, bands: str | None, crs: str | None, bounds: str | None
) -> Any:
    from services.cli.sources import parse_sources

    return parse_sources(scenes or [], band=band or [], bands=bands, crs=crs, bounds=bounds)
