"""`swath drift`: is this scene still what the model was trained on?"""

from services.cli.output import print_json, print_table, say
from services.core.drift import DRIFTED_PSI, WATCH_PSI, Drift, drift_of_run
from services.core.log import configure_logging
from services.core.settings import load_settings
from services.core.site import open_site

_WORDS = {
    "stable": "is like its model's training data",
    "watch": "differs somewhat from its model's training data; look at what is named",
    "drifted": "is not like its model's training data; check some of the map before you trust it",
}


def drift_command(run_id: str, *, as_json: bool) -> int:
    """Print how far a run is from its model's training data; 0 whatever that comes to."""
    settings = load_settings()
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        drift = drift_of_run(site, run_id)
    if as_json:
        print_json(drift.model_dump(mode="json"))
    else:
        _show(drift)
    return 0


def _show(drift: Drift) -> None:
    rows = [(m.name, m.kind, m.samples, f"{m.psi:.3f}", f"{m.distance:.3f}", m.verdict) for m in drift.measures]
    print_table(["what", "kind", "samples", "PSI", "distance", "verdict"], rows)
    say(f"{drift.run_id} on {drift.scene_id} {_WORDS[drift.verdict]}")
    say(
        f"PSI, less what chance makes of so few samples: stable below {WATCH_PSI}, watch below {DRIFTED_PSI}, else "
        "drifted; distance (Jensen-Shannon): 0 to 1"
    )
