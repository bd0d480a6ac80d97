"""For maintainers: `python -m services.core.catalog.migrations "what changes"` writes the next revision."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from services.core.catalog.catalog import open_catalog
from services.core.catalog.tables import SCHEMA_REVISION


def write_revision(message: str) -> None:
    """Compare tables.py with a catalog of the newest schema, and write what is missing; then bump SCHEMA_REVISION."""
    following = f"{int(SCHEMA_REVISION) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder, open_catalog(f"sqlite:///{Path(folder) / 'swath.db'}") as catalog:

        def write(conn: object) -> None:
            config = Config(attributes={"connection": conn})
            config.set_main_option("script_location", "services.core.catalog:migrations")
            config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
            command.revision(config, message, autogenerate=True, rev_id=following)

        catalog.database.read(write)


if __name__ == "__main__":
    write_revision(sys.argv[1])
