"""The catalog: scenes, refusals, models, runs and products as records. The ledger of units is in `ledger.py`.

Importing this costs SQLAlchemy's core (0.2 s); drivers, dialects and Alembic are imported when they are needed.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, select

from services.core.catalog.checks import check_database
from services.core.catalog.database import Database, insert_into, parse_url
from services.core.catalog.entries import Refusal, RegisteredModel
from services.core.catalog.rows import clean, document, find_row, page_rows
from services.core.catalog.schema import ensure_schema
from services.core.catalog.tables import models, products, refusals, runs, scenes
from services.core.errors import ObjectNotFoundError, RequestError
from services.core.findings import Finding
from services.core.records import Product, Run, RunState, Scene


def open_catalog(url: str, *, create: bool = True, patience_s: float = 20.0) -> "Catalog":
    """Open a catalog, bringing its tables up to date.

    Args:
        url: `sqlite:////folder/swath.db` or `postgresql://user@host/database`.
        create: False: neither make nor migrate anything.
        patience_s: How long a transaction is repeated while the database is away or busy.

    Raises:
        ConfigError: The address, login, rights or file are wrong; the catalog is newer than this code; or it is
            absent or older, and `create` is False.
        DatabaseUnavailableError: It does not answer.
    """
    database = Database(parse_url(url), patience_s=patience_s)
    try:
        ensure_schema(database, create=create)
    except BaseException:
        database.close()
        raise
    return Catalog(database)


class Catalog:
    """Every method is one transaction, repeated while the database is away for a moment.

    All raise `DatabaseUnavailableError` when it stays away. Safe to share between threads.
    """

    def __init__(self, database: Database) -> None:
        """Use `open_catalog`."""
        self.database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    def check(self) -> list[Finding]:
        """Facts about the database for `swath doctor`."""
        return check_database(self.database)

    def add_scene(self, scene: Scene) -> None:
        """Register a scene; again, with equal pixels, takes note of where they lie now.

        Raises:
            RequestError: The id is taken by a scene with other pixels, or a name is not text.
        """
        values = {
            "id": scene.id,
            "digest": scene.digest,
            "title": scene.title,
            "source": scene.source,
            "record": document(scene),
        }

        def work(conn: Connection) -> str:
            insert = insert_into(conn, scenes).values(**values, created_at=datetime.now(UTC))
            upsert = insert.on_conflict_do_update(
                index_elements=["id"], set_=values, where=scenes.c.digest == insert.excluded.digest
            )
            conn.execute(upsert)
            return str(conn.execute(select(scenes.c.digest).where(scenes.c.id == scene.id)).scalar_one())

        digest = self.database.write(work)
        if digest != scene.digest:
            raise RequestError(
                f"scene {scene.id} is already registered with other pixels (digest {digest[:12]}, now "
                f"{scene.digest[:12]}): {scene.source} has changed or another file has its name; give it another id"
            )

    def scene(self, wanted: str) -> Scene:
        """The scene with this id, or with the only id that begins so.

        Raises:
            ObjectNotFoundError: There is none.
            RequestError: Several begin so.
        """
        row = self.database.read(lambda conn: find_row(conn, scenes, wanted, noun="scene"))
        return Scene.model_validate(row["record"])

    def scenes(self, *, limit: int = 50, after: str | None = None) -> list[Scene]:
        """A page of scenes, newest first; `after` is the id of the last scene of the page before.

        Raises:
            ObjectNotFoundError: No scene `after`.
        """
        rows = self.database.read(lambda conn: page_rows(conn, scenes, limit=limit, after=after))
        return [Scene.model_validate(row["record"]) for row in rows]

    def add_refusal(self, source: str, reason: str) -> Refusal:
        """Keep why a source was refused; each attempt is one row."""
        refusal = Refusal(id=uuid.uuid4().hex, source=clean(source), reason=clean(reason), created_at=datetime.now(UTC))
        self.database.write(
            lambda conn: conn.execute(
                insert_into(conn, refusals).values(refusal.model_dump()).on_conflict_do_nothing(index_elements=["id"])
            )
        )
        return refusal

    def refusals(self, *, limit: int = 50, after: str | None = None) -> list[Refusal]:
        """A page of refusals, newest first; `after` as in `scenes`."""
        rows = self.database.read(lambda conn: page_rows(conn, refusals, limit=limit, after=after))
        return [Refusal.model_validate(row) for row in rows]

    def add_model(self, model: RegisteredModel) -> None:
        """Register a package; again, takes note of where it lies now.

        Raises:
            RequestError: A name in it is not text.
        """
        values = document(model) | {"created_at": model.created_at}

        def work(conn: Connection) -> None:
            insert = insert_into(conn, models).values(values)
            conn.execute(insert.on_conflict_do_update(index_elements=["digest"], set_={"href": model.href}))

        self.database.write(work)

    def model(self, wanted: str) -> RegisteredModel:
        """The newest model of this name, else the only one whose digest begins so.

        Raises:
            ObjectNotFoundError: There is none.
            RequestError: Several digests begin so.
        """

        def work(conn: Connection) -> dict[str, Any]:
            named = page_rows(conn, models, limit=1, where=[models.c.name == clean(wanted)])
            return named[0] if named else find_row(conn, models, wanted, noun="model")

        return RegisteredModel.model_validate(self.database.read(work))

    def models(self, *, limit: int = 50, after: str | None = None) -> list[RegisteredModel]:
        """A page of models, newest first; `after` is a digest."""
        rows = self.database.read(lambda conn: page_rows(conn, models, limit=limit, after=after))
        return [RegisteredModel.model_validate(row) for row in rows]

    def run(self, wanted: str) -> Run:
        """The run with this id, or with the only id that begins so; `Ledger.create_run` makes them.

        Raises:
            ObjectNotFoundError: There is none.
            RequestError: Several begin so.
        """
        return _as_run(self.database.read(lambda conn: find_row(conn, runs, wanted, noun="run")))

    def runs(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        scene_id: str | None = None,
        state: RunState | None = None,
    ) -> list[Run]:
        """A page of runs, newest first; `after` as in `scenes`."""
        where: Sequence[ColumnElement[bool]] = [
            column == value
            for column, value in ((runs.c.scene_id, scene_id and clean(scene_id)), (runs.c.state, state))
            if value is not None
        ]
        rows = self.database.read(lambda conn: page_rows(conn, runs, limit=limit, after=after, where=where))
        return [_as_run(row) for row in rows]

    def add_product(self, product: Product) -> None:
        """Say what a run published; again, the last word counts.

        Raises:
            ObjectNotFoundError: No such run.
        """
        values = document(product) | {"created_at": product.created_at}

        def work(conn: Connection) -> None:
            if conn.execute(select(runs.c.id).where(runs.c.id == product.run_id)).first() is None:
                raise ObjectNotFoundError(f"no run {product.run_id} in the catalog, so nothing it could have published")
            insert = insert_into(conn, products).values(values)
            conn.execute(insert.on_conflict_do_update(index_elements=["run_id"], set_=values))

        self.database.write(work)

    def product(self, run_id: str) -> Product:
        """What the run published.

        Raises:
            ObjectNotFoundError: Nothing yet, or no such run.
            RequestError: Several runs' ids begin so.
        """
        return Product.model_validate(
            self.database.read(lambda conn: find_row(conn, products, run_id, noun="product of run"))
        )

    def find_product(self, run_id: str) -> Product | None:
        """The same by the run's whole id; None: nothing yet."""
        try:
            return self.product(run_id)
        except ObjectNotFoundError:
            return None


def _as_run(row: dict[str, Any]) -> Run:
    return Run.model_validate({name: row[name] for name in Run.model_fields})
