"""What a threshold package says about itself: its card and its other files of text."""

from typing import Any

from services.core.model.contract import Contract
from services.core.model.mlm import ModelFacts, build_item
from services.training.figures import json_bytes


def threshold_card(contract: Contract, metrics: dict[str, Any]) -> str:
    """card.md of a threshold."""
    learned = "\n".join(f"- {title}: {count} tiles" for title, count in metrics["tiles"].items())
    accuracy = metrics.get("accuracy_on_training_tiles")
    told = "" if accuracy is None else f" It gets {100 * accuracy:.1f} % of the tiles right it was learned from.\n"
    return f"""# {contract.name}: a tile is bright or dark

A tile whose score is {contract.threshold:g} or more is bright. The score is the mean over all valid pixels and all
bands of the tile, times one constant for the scene: its scale, if all bands declare the same one (Landsat and
Sentinel-2 reflectance), else one over the largest number its integer type holds. It fits any scene.

## Data

Learned from tiles of {contract.chip_px} px that are at least half valid ({metrics["how"]}):

{learned}

{100 * metrics["bright_share"]:.0f} % of them are bright.{told}

## Limits

The smallest example of a model, and a quick look at cloud, snow and sand; not a cloud mask. The threshold belongs to
its tile size and to scenes like those above: 16 bit numbers without a declared scale give scores near 0, and then every
tile is dark. Learn your own with `swath train threshold`.
"""


def threshold_files(contract: Contract, card: str, metrics: dict[str, object]) -> dict[str, bytes]:
    """The files of a threshold package, for `save_package`."""
    facts = ModelFacts(description=card.splitlines()[0].lstrip("# "), architecture="Threshold on mean intensity")
    return {
        "model.json": json_bytes(build_item(contract, facts)),
        "metrics.json": json_bytes(metrics),
        "card.md": card.encode(),
    }
