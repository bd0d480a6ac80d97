"""Alembic's entry: works over the connection that `schema.py` hands it, inside that connection's transaction.

A new revision: change tables.py, then `python -m services.core.catalog.migrations "what changes"`.
There is no way down: a revision is undone by a later one, and data by a backup.
"""

from alembic import context

from services.core.catalog import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=tables.VERSION_TABLE,
    render_as_batch=True,  # SQLite cannot alter a column; batch mode writes the table anew
)
context.run_migrations()
