"""Arguments and options that commands share, and how a command ends."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=10**9)]
Seed = Annotated[int, typer.Option(help="Of all chance; another one, another network.", min=0, max=2**32 - 1)]
Scenes = Annotated[
    list[str] | None,
    typer.Argument(metavar="SCENE...", help="Path, folder of band files, s3://bucket/key, or STAC item (path or URL)."),
]
Model = Annotated[str, typer.Option("--model", "-m", help="Name, NAME@DIGEST, digest, or package folder.")]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Folder or s3:// prefix that receives <run id>/.")]
BandFiles = Annotated[
    list[str] | None, typer.Option("--band", metavar="NAME=FILE", help="One file of a scene; repeat for each band.")
]
BandNames = Annotated[str | None, typer.Option("--bands", help="Names of a file's bands in order: blue,green,red.")]
Crs = Annotated[str | None, typer.Option(help="CRS of a file that carries none, e.g. EPSG:32619; needs --bounds.")]
Bounds = Annotated[str | None, typer.Option(help="left,bottom,right,top in --crs units.")]
TilePx = Annotated[
    int | None,
    typer.Option(
        "--tile-px",
        help="Side of a tile in pixels; default 256. With a classification model: its chip, or a part of it for a "
        "smooth map of overlapping chips.",
    ),
]
Gsd = Annotated[float | None, typer.Option("--gsd", help="Resample the scene to pixels of this many metres first.")]
Box = Annotated[
    str | None,
    typer.Option("--bbox", help="Map this part only: west,south,east,north in degrees. Whole tiles are kept."),
]
Workers = Annotated[int | None, typer.Option(help="Threads; default one per core.")]
Memory = Annotated[str | None, typer.Option(help="Hard memory budget, e.g. 2GiB.")]
Engine = Annotated[str, typer.Option(help="Where the work runs; here only `local`.")]


def leave(code: int) -> None:
    """End a command with an exit code; 0 just returns."""
    if code:
        raise typer.Exit(code)
