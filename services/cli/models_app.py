"""Arguments of `swath models`, and nothing else; the work is imported when a command is called."""

from typing import Annotated

import typer

from services.cli.options import Debug, Json, Limit, leave

models_app = typer.Typer(
    help="List the models this installation knows, or work with one of them.",
    epilog="Example: swath models",
    invoke_without_command=True,
)

Wanted = Annotated[
    str, typer.Argument(metavar="MODEL", help="Name, NAME@DIGEST, digest (8 digits suffice), or folder.")
]
Who = Annotated[str | None, typer.Option(help="Who says so; default user@host.")]
Labels = Annotated[str | None, typer.Option(help="Class raster on the grid of the scene that --data names.")]
FirstClass = Annotated[
    int, typer.Option("--first-class", help="The number in --labels that is class 0.", min=0, max=255)
]
_DATA = "Zip or folder of images, one folder per class; or, with --labels, a scene."


@models_app.callback(epilog="Example: swath models")
def models(
    context: typer.Context,
    limit: Limit = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the models this installation knows, or work with one of them."""
    del debug
    if context.invoked_subcommand is None:
        from services.cli.models import list_models

        leave(list_models(limit=limit, as_json=as_json))
    elif as_json:  # `swath models --json show NAME` is as good as `swath models show NAME --json`
        context.default_map = {context.invoked_subcommand: {"as_json": True}}


@models_app.command("show", epilog="Example: swath models show landcover-l7")
def show(model: Wanted, as_json: Json = False, debug: Debug = False) -> None:
    """Contract, files, precisions, card and stages of one package."""
    from services.cli.models import show_model

    del debug
    leave(show_model(model, as_json=as_json))


@models_app.command("add", epilog="Example: swath models add my-model --who ada@desk")
def add(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A package's folder, or a shipped name.")],
    who: Who = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a package and keep it in the store under its digest, as a candidate."""
    from services.cli.models import add_model

    del debug
    leave(add_model(folder, who=who, as_json=as_json))


@models_app.command("promote", epilog='Example: swath models promote 0a1b2c3d4e5f --why "0.4 points better on May"')
def promote(
    model: Wanted,
    why: Annotated[str, typer.Option(help="A sentence for those who will ask.")],
    to: Annotated[str, typer.Option(help="production, retired or candidate.")] = "production",
    who: Who = None,
    data: Annotated[str | None, typer.Option(help=f"Measure both packages on this. {_DATA}")] = None,
    labels: Labels = None,
    first_class: FirstClass = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a package replace what its name means here, if its checks pass and it is no worse."""
    from services.cli.models_judge import HeldOut, promote_command

    del debug
    held = None if data is None else HeldOut(data=data, labels=labels, first_class=first_class)
    leave(promote_command(model, held, to=to, why=why, who=who, as_json=as_json))


@models_app.command("export", epilog="Example: swath models export landcover-l7 --out landcover-l7")
def export(
    model: Wanted,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder to make; with --onnx, file.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="The network alone, as one ONNX file.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a package's files, byte for byte."""
    from services.cli.models import export_model

    del debug
    leave(export_model(model, out=out, only_onnx=onnx, as_json=as_json))


@models_app.command("evaluate", epilog="Example: swath models evaluate my-model --data EuroSAT_RGB.zip --out judged")
def evaluate(
    model: Wanted,
    data: Annotated[str, typer.Option(help=_DATA)],
    labels: Labels = None,
    first_class: FirstClass = 1,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Folder for evaluation.json, confusion.png.")] = None,
    altered: Annotated[bool, typer.Option("--altered", help="Also on the images compressed, blurred, grainy…")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Accuracy, precision and recall per class, calibration, and images per second."""
    from services.cli.models_judge import HeldOut, evaluate_command

    del debug
    held = HeldOut(data=data, labels=labels, first_class=first_class)
    leave(evaluate_command(model, held, altered=altered, out=out, as_json=as_json))


@models_app.command("pack", epilog="Example: swath models pack --onnx net.onnx --contract net.toml --out my-net")
def pack(
    contract: Annotated[str, typer.Option(help="TOML or JSON: what the network takes and gives; see docs/models.md.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder of the new package.")],
    onnx: Annotated[str | None, typer.Option(help="The network as ONNX, its weights inside.")] = None,
    module: Annotated[str | None, typer.Option(help="FILE.py:Class; the file is imported, so its code runs.")] = None,
    weights: Annotated[str | None, typer.Option(help="The module's state dict, as safetensors.")] = None,
    card: Annotated[str | None, typer.Option(help="Markdown for people; else one is written.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a package of your own network, and try it in every library here."""
    from services.cli.models_pack import Network, pack_command

    del debug
    network = Network(onnx=onnx, module=module, weights=weights)
    leave(pack_command(network, contract, out=out, card=card, as_json=as_json))
