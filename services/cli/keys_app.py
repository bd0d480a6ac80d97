"""Arguments of `swath keys`, and nothing else; the work is imported when a command is called."""

from typing import Annotated

import typer

from services.cli.options import Debug, Json, Limit, leave

keys_app = typer.Typer(
    help="Keys of the online service.",
    epilog="Example: swath keys create dashboard --expires 90d",
    no_args_is_help=True,
)


@keys_app.command("create", epilog="Example: swath keys create dashboard --expires 90d")
def keys_create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    expires: Annotated[str | None, typer.Option(help="E.g. 90d or 12h; left out: never.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a key and show it, this once."""
    from services.cli.keys import create_key

    del debug
    leave(create_key(name, expires=expires, as_json=as_json))


@keys_app.command("list", epilog="Example: swath keys list")
def keys_list(limit: Limit = 50, as_json: Json = False, debug: Debug = False) -> None:
    """List keys, newest first."""
    from services.cli.keys import list_keys

    del debug
    leave(list_keys(limit=limit, as_json=as_json))


@keys_app.command("revoke", epilog="Example: swath keys revoke 0a1b2c3d4e5f")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `swath keys list` shows it.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """End a key."""
    from services.cli.keys import revoke_key

    del debug
    leave(revoke_key(key_id, as_json=as_json))
