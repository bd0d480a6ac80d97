"""The card of an image classifier."""

from collections.abc import Mapping
from typing import Any

from services.training.figures import percent
from services.training.image_recipe import ImageRecipe


def image_card(recipe: ImageRecipe, metrics: Mapping[str, Any]) -> str:
    """card.md from what was measured."""
    training, held, rounded = metrics["training"], metrics["held_out"], metrics["bf16_against_fp32"]
    minutes, views = training["cpu_minutes"], metrics["all_views"]
    return f"""# {recipe.name}: {len(recipe.classes)} classes of land use

Names what one {recipe.chip_px} by {recipe.chip_px} pixel chip shows, from the bands {", ".join(recipe.bands)} at
{recipe.gsd_m[0]:g} to {recipe.gsd_m[1]:g} m per pixel: 8 bit images as they are, or reflectance, which is drawn in 8
bits as the training images were.

## Data

{recipe.data}

Learned from {training["images"]} images; {held["images"]} others, the same share of every class, told when to stop and
judge it here. The package holds the very network that was judged.

## How right it is

**{percent(held["accuracy"], 2)} %** of the {held["images"]} images it never learned from are named right as they
lie, and **{percent(views["fp32"], 2)} %** in all their eight turns and mirrorings, which is the fairer figure. These
images also chose the epoch (number {training["best_epoch"]}) and how far the weights went from there towards those of
the last epochs, which saw rougher images ({percent(training["rough_share"])} % of the way), so both lean to the good
side.
{_second_look(views)}
{_cross_validation(metrics)}
| class | images | precision % | recall % | F1 % |
|---|---|---|---|---|
{_class_rows(metrics)}

![confusion matrix](figures/confusion.png)

On the same images a little altered, which no person would take for another place: {_altered(metrics)}.

Expected calibration error (15 bins): {percent(metrics["calibration"]["ece"], 2)} points. Logits
were divided by {metrics["temperature"]:g}, which makes the labels of these same images likeliest; before, smoothed
labels had made it too modest.

## Number formats

{_int8(views)}
In bfloat16 {percent(rounded["same_class"], 2)} % of {rounded["answers"]} answers stay the same, and no
probability moves by more than {rounded["largest_probability_difference"]:.3f}.

Images per second, network alone, on {training["threads"]} cores of the machine that packed it (others worked there
too): {_speeds(metrics)}.

## Limits

{recipe.limits}

## Making

A network of its own from random weights, seed {training["seed"]}, {training["epochs"]} epochs,
{minutes:.0f} processor minutes ({minutes / training["threads"]:.0f} minutes on {training["threads"]} cores).
Code {training["code"]}, torch {training["torch"]}.
Images and their order by digest: {training["data"]}.
"""


def _second_look(found: Mapping[str, Any]) -> str:
    if "first_look" not in found:
        return ""
    again, first = percent(found["looked_again"]), percent(found["first_look"], 2)
    return f"""
An answer the network is not sure of is given anew, as the mean over the chip's eight turns and mirrorings: {again} % of
these views. By the first look alone {first} % of them are right.
"""


def _cross_validation(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("cross_validation")
    if not found:
        return ""
    each = ", ".join(percent(value, 2) for value in found["accuracy"])
    return (
        f"\nCross-validation, in which no image judges a network it shaped and no epoch is chosen: {found['folds']} "
        f"folds of {found['images']} images, {found['epochs']} epochs each: **{percent(found['mean'], 2)} %** on "
        f"average ({each}).\n"
    )


def _altered(metrics: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {percent(value, 2)} %" for name, value in metrics["altered"].items())


def _class_rows(metrics: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {row['images']} | " + " | ".join(percent(row[key]) for key in ("precision", "recall", "f1")) + " |"
        for name, row in metrics["per_class"].items()
    )


def _int8(found: Mapping[str, Any]) -> str:
    if "int8" not in found:
        return "Only fp32 was tried."
    what = "kept and used where nothing else is asked for" if found["kept"] else "not kept"
    if not found.get("alike", True):
        what = "near enough here, but its answers to noise are too far from those in fp32, and it is not kept"
    return (
        f"Over all eight turns and mirrorings of these images {percent(found['int8'], 2)} % are right in 8 bit "
        f"integers, {percent(found['fp32'], 2)} % in fp32; at most {percent(found['tolerance'])} points may be lost, "
        f"so int8 is {what}."
    )


def _speeds(metrics: Mapping[str, Any]) -> str:
    found = metrics["images_per_second"]
    return (
        ", ".join(f"{name} {value:.0f}" for name, value in found.items() if isinstance(value, float)) or "not measured"
    )
