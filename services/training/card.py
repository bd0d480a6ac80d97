"""Model cards: what people should know before they trust a map."""

from collections.abc import Mapping
from typing import Any

from services.training.figures import percent
from services.training.recipe import Recipe


def segmentation_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    """card.md of a trained segmentation."""
    test, training = metrics["test"], metrics["training"]
    rows = "\n".join(
        f"| {name} | {row['pixels']} | {percent(row['recall'])} | {percent(row['precision'])} | {percent(row['iou'])} |"
        for name, row in test["per_class"].items()
    )
    return f"""# {recipe.name}: {len(recipe.classes)} classes of land cover

Names the class of every pixel of a scene with the bands {", ".join(recipe.bands)}, stored as
{" or ".join(recipe.dtypes)}, at {recipe.gsd_m[0]:g} to {recipe.gsd_m[1]:g} m per pixel.

## Data

{recipe.data}

The scene was cut into nine blocks: two are the test, one is for validation, the rest is learned from, less a margin as
wide as the network's receptive radius. Test pixels were hidden from training as nodata: no label, no pixel and no
normalisation constant comes from them. The network in this package is the one that was judged; it was not trained
again on all of the scene afterwards.

## How right it is

{test["pixels"]} labelled test pixels, mapped by the same operators as a batch run: **{percent(test["overall"])} %**
are right{_baseline(metrics["baseline_random_forest_test"])}.
On the validation block: {percent(metrics["validation"]["overall"])} %.

| class | pixels | found (recall) % | right where named (precision) % | IoU % |
|---|---|---|---|---|
{rows}

A dash: the class does not occur in the test part, so nothing is known about it.

## Limits

{recipe.limits}

## Making

U-Net of three levels, {training["epochs"]} epochs from seed {training["seed"]}, on {metrics["pixels"]["train"]}
labelled pixels; weights averaged over the last steps. Code {training["code"]}, torch {training["torch"]}.
In bfloat16 {percent(metrics["bf16_against_fp32"]["same_class"])} % of validation pixels keep their class, and no
probability moves by more than {metrics["bf16_against_fp32"]["largest_probability_difference"]:.3f}.
"""


def _baseline(scores: Mapping[str, float]) -> str:
    if not scores:
        return ""
    told = ", ".join(f"{percent(value)} % ({name.replace('_', ' ')})" for name, value in scores.items())
    return f". A random forest of 100 trees on the same split reaches {told}"
