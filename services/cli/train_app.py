"""Arguments of `swath train`, and nothing else; the work is imported when a command is called."""

from typing import Annotated

import typer

from services.cli.options import Debug, Json, Seed, leave

_SCENE = "Path, folder of band files, s3:// or http(s):// address, or STAC item."
_MOST_EPOCHS = 100_000  #: more would only fill the memory with plans

train_app = typer.Typer(
    help="Make a model package.",
    epilog="Example: swath train eurosat --data EuroSAT_RGB.zip --out my-eurosat",
    no_args_is_help=True,
)


@train_app.command("threshold", epilog="Example: swath train threshold scene.tif --out my-threshold")
def train_threshold(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE...", help=_SCENE)],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the new package.")],
    labels: Annotated[str | None, typer.Option(help="Raster of 0 and 1 on the scene's grid; left out: Otsu.")] = None,
    tile_px: Annotated[int, typer.Option("--tile-px", help="Side of a tile in pixels.")] = 256,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "brightness",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn the brightness threshold that splits tiles in two."""
    from services.cli.train import train_threshold_command

    del debug
    leave(train_threshold_command(scenes, out=out, labels=labels, tile_px=tile_px, name=name, as_json=as_json))


@train_app.command("segmentation", epilog="Example: swath train segmentation scene.tif truth.tif --out my-model")
def train_segmentation(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help=_SCENE)],
    truth: Annotated[str, typer.Argument(metavar="TRUTH", help="Class raster on the scene's grid, 0 is unknown.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the new package.")],
    epochs: Annotated[int | None, typer.Option(help="Default: the recipe's own.", min=1, max=_MOST_EPOCHS)] = None,
    seed: Seed = 7,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the small land-cover network, and test it on a part of the scene it never saw."""
    from services.cli.train import train_segmentation_command

    del debug
    leave(train_segmentation_command(scene, truth, out=out, epochs=epochs, seed=seed, as_json=as_json))


@train_app.command("eurosat", epilog="Example: swath train eurosat --data EuroSAT_RGB.zip --out my-eurosat")
def train_eurosat(
    data: Annotated[str, typer.Option("--data", help="Zip or folder with one folder of images per class.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the new package.")],
    epochs: Annotated[
        int | None, typer.Option(help="Rough ones come on top. Default: the schedule's own.", min=3, max=_MOST_EPOCHS)
    ] = None,
    folds: Annotated[int, typer.Option(help="Cross-validate first, in so many parts; 0: don't.", min=0, max=20)] = 0,
    fold_epochs: Annotated[
        int | None, typer.Option(help="Epochs of each fold. Default: as --epochs.", min=3, max=_MOST_EPOCHS)
    ] = None,
    rough_cost: Annotated[
        float, typer.Option(help="Points that staying right on images saved again, blurred or grainy may cost.", min=0)
    ] = 0.1,
    seed: Seed = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the EuroSAT classifier; a training that was killed goes on where it was."""
    from services.cli.train import EurosatWish, train_eurosat_command

    del debug
    wanted = EurosatWish(epochs=epochs, folds=folds, fold_epochs=fold_epochs, rough_cost=rough_cost / 100, seed=seed)
    leave(train_eurosat_command(data, out, wanted, as_json=as_json))
