"""Stages of model packages: candidate, production, retired; who, when and why, never forgotten."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, func, insert, select

from services.core.catalog.catalog import Catalog
from services.core.catalog.entries import ModelStage, RegisteredModel, StageChange
from services.core.catalog.rows import clean, find_row
from services.core.catalog.tables import model_stages, models
from services.core.errors import ConflictError, RequestError

_LONGEST = 2000


class Stages:
    """The catalog's table of stages. Every method is one transaction, as in `Catalog`.

    At most one package per name is in production, whoever promotes at the same time: promoters of one name take turns
    (a lock on the rows of its packages, or SQLite's own), and the table's key refuses a second successor of any step.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Uses the catalog's connections."""
        self._database = catalog.database

    def stage(self, digest: str) -> ModelStage | None:
        """The stage of exactly this package; None: it was never added, at most run from where it lies."""
        return self._database.read(lambda conn: _stage_of(conn, digest))

    def stages(self, digests: Sequence[str]) -> dict[str, ModelStage]:
        """The stages of those of the packages that have one."""
        query = select(model_stages.c.digest, model_stages.c.stage).where(model_stages.c.digest.in_(digests))
        rows = self._database.read(lambda conn: conn.execute(query.order_by(model_stages.c.step)).all())
        return {digest: ModelStage(stage) for digest, stage in rows}  # the last step of each wins

    def production(self, name: str) -> RegisteredModel | None:
        """What a model's name means here; None: nothing of this name is in production."""

        def work(conn: Connection) -> RegisteredModel | None:
            digest = _production_of(conn, clean(name))
            if digest is None:
                return None
            row = conn.execute(select(models).where(models.c.digest == digest)).mappings().one()
            return RegisteredModel.model_validate(dict(row))

        return self._database.read(work)

    def stage_history(self, name: str) -> list[StageChange]:
        """Every step of a name, oldest first."""
        query = select(model_stages).where(model_stages.c.name == clean(name)).order_by(model_stages.c.step)
        rows = self._database.read(lambda conn: conn.execute(query).mappings().all())
        return [StageChange.model_validate(dict(row)) for row in rows]

    def promote(
        self, digest: str, *, stage: ModelStage, who: str, why: str, after: int | None = None
    ) -> list[StageChange]:
        """Take one step: the package gets this stage, and what was in production before it retires.

        Whether the package deserves it is for the caller to find out (`services.training.promotion`).

        Args:
            digest: Of a registered package, or the only beginning of one.
            stage: The new stage.
            who: Who says so.
            why: A sentence for those who will ask.
            after: The name's last step (0: none) when the package was compared with what it replaces; None: any.

        Returns:
            The steps taken; none where the package has this stage already, so this may be repeated.

        Raises:
            ObjectNotFoundError: No such package is registered.
            RequestError: `who` or `why` says nothing, or several digests begin so.
            ConflictError: Somebody else took a step since `after`.
        """
        return self._step(digest, (stage, *_told(who, why)), after=after)

    def add_candidate(self, digest: str, *, who: str, why: str) -> list[StageChange]:
        """The first step of a package; none where it has taken any, so that adding again undoes no promotion."""
        return self._step(digest, (ModelStage.CANDIDATE, *_told(who, why)), first_only=True)

    def _step(
        self, digest: str, told: tuple[ModelStage, str, str], *, after: int | None = None, first_only: bool = False
    ) -> list[StageChange]:
        def work(conn: Connection) -> list[StageChange]:
            found = find_row(conn, models, digest, noun="model")
            # SQLite ignores FOR UPDATE: BEGIN IMMEDIATE already excludes others.
            turn = select(models.c.digest).where(models.c.name == found["name"]).order_by(models.c.digest)
            conn.execute(turn.with_for_update()).all()
            if first_only and _stage_of(conn, found["digest"]) is not None:
                return []
            return _take_steps(conn, found["name"], found["digest"], told, after)

        return self._database.write(work)


def _told(who: str, why: str) -> tuple[str, str]:
    who, why = clean(who).strip(), clean(why).strip()
    if not who or not why or len(who) > _LONGEST or len(why) > _LONGEST:
        raise RequestError(f"a change of stage needs who and why, in up to {_LONGEST} characters each")
    return who, why


def _take_steps(
    conn: Connection, name: str, digest: str, told: tuple[ModelStage, str, str], after: int | None
) -> list[StageChange]:
    stage, who, why = told
    if _stage_of(conn, digest) == stage:
        return []
    query = select(func.coalesce(func.max(model_stages.c.step), 0)).where(model_stages.c.name == name)
    last: int = conn.execute(query).scalar_one()
    if after is not None and last != after:
        raise ConflictError(f"somebody else changed the stages of model {name} meanwhile; look, and promote again")
    planned = [(digest, stage, why)]
    if stage == ModelStage.PRODUCTION and (before := _production_of(conn, name)) is not None:
        planned.insert(0, (before, ModelStage.RETIRED, f"{digest[:12]} took its place: {why}"))
    now = datetime.now(UTC)
    steps = [
        StageChange(name=name, step=last + count, digest=of, stage=to, who=who, why=reason, created_at=now)
        for count, (of, to, reason) in enumerate(planned, start=1)
    ]
    conn.execute(insert(model_stages), [step.model_dump() for step in steps])
    return steps


def _stage_of(conn: Connection, digest: str) -> ModelStage | None:
    query = select(model_stages.c.stage).where(model_stages.c.digest == digest)
    stage = conn.execute(query.order_by(model_stages.c.step.desc()).limit(1)).scalar_one_or_none()
    return None if stage is None else ModelStage(stage)


def _production_of(conn: Connection, name: str) -> str | None:
    """The digest last put into production, if it is still there: each that follows retires the one before."""
    promoted = model_stages.c.stage == ModelStage.PRODUCTION
    query = select(model_stages.c.digest).where(model_stages.c.name == name, promoted)
    digest = conn.execute(query.order_by(model_stages.c.step.desc()).limit(1)).scalar_one_or_none()
    return digest if digest is not None and _stage_of(conn, digest) == ModelStage.PRODUCTION else None
