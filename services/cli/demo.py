"""`swath demo`: the main job once, on a real scene where there is one, and a small picture of what it made."""

from pathlib import Path

from services.cli.output import console, note, say
from services.cli.picture import show_map
from services.cli.run import RunOptions, run_source
from services.cli.sources import parse_sources
from services.core.errors import PermanentError
from services.core.ingest import ingest_scene
from services.core.log import configure_logging
from services.core.model.contract import Contract
from services.core.model.package import shipped_package
from services.core.product.spec import MAP
from services.core.raster.classmap import UNLABELLED, read_class_map
from services.core.records import Scene
from services.core.settings import load_settings
from services.core.signals import stop_on_signals
from services.core.site import Site, open_site
from services.core.synthetic import make_scene

#: Where this workplace keeps real imagery; elsewhere a scene is made.
REAL_SCENE = Path("../shared/data/landcover/NC_L7_2000_6band_28m.tif")
FIRST_CHOICE, FITS_ANYTHING = "landcover-l7", "brightness"


def demo_command(scene: str | None, *, out: str | None, model: str | None) -> int:
    """Run, show the picture, and where the truth is known say how much of the map is right."""
    settings = load_settings()
    configure_logging(settings.log_level)
    truth: Path | None = None
    with open_site(settings) as site, stop_on_signals() as stop:
        if scene is None:
            scene, truth = _find_or_make(site)
        (source,) = parse_sources([scene], band=[], bands=None, crs=None, bounds=None)
        registered = ingest_scene(site, source.paths, source.options)
        chosen = model or _pick_model(registered)
        options = RunOptions(model=chosen, out=out or "demo-out")
        outcome, code = run_source(site, source, options, stop)
        path = Path(outcome.product.href) / MAP
        if path.is_file():
            contract = Contract.model_validate(site.catalog.model(outcome.run.model_digest).contract)
            show_map(console, path, contract)
            if truth is not None:
                share = _agreement(path, truth, registered)
                say(f"{share:.1%} of the map agrees with the truth that the scene was made from")
        say(f"where a pixel came from: swath lineage {outcome.run.id} --lon LON --lat LAT")
    return code


def _find_or_make(site: Site) -> tuple[str, Path | None]:
    if REAL_SCENE.is_file():
        say(f"scene: {REAL_SCENE}, Landsat-7, North Carolina, 2000")
        return str(REAL_SCENE), None
    folder = site.settings.home / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    path, truth = folder / "synthetic.tif", folder / "synthetic-truth.tif"
    make_scene(path, truth)
    say(f"scene: {path}, made here: terrain, river, fields, forest and a town in six Landsat-like bands")
    return str(path), truth


def _pick_model(scene: Scene) -> str:
    try:
        shipped_package(FIRST_CHOICE).contract.pick_bands(scene)
    except PermanentError as exc:
        note(f"{exc}; taking {FITS_ANYTHING}, which fits any scene")
        return FITS_ANYTHING
    return FIRST_CHOICE


def _agreement(path: Path, truth: Path, scene: Scene) -> float:
    """Share of the pixels with an answer and a truth on which both agree."""
    answers, expected = read_class_map(path, scene), read_class_map(truth, scene)
    known = (answers != UNLABELLED) & (expected != UNLABELLED)
    return float((answers == expected)[known].mean()) if known.any() else 0.0
