"""Frozen shapes that only the catalog keeps: models and their stages, keys, and refusals."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from services.core.records import Record, Sha256


class RegisteredModel(Record):
    """A package the catalog knows."""

    digest: Sha256
    name: str
    kind: str
    href: str
    created_at: datetime
    contract: dict[str, Any]


class ModelStage(StrEnum):
    """What a site may do with a package."""

    CANDIDATE = "candidate"  #: kept, and waiting for its judges
    PRODUCTION = "production"  #: what the model's name means here; one per name
    RETIRED = "retired"  #: kept for what it made; reachable by its digest only


class StageChange(Record):
    """One step in the history of a model's name."""

    name: str
    step: int  #: 1, 2, 3 … per name
    digest: Sha256
    stage: ModelStage
    who: str  #: `user@host`, or what the promoter called itself
    why: str
    created_at: datetime


class ApiKey(Record):
    """A key of the online service as the catalog keeps it: the secret itself is nowhere."""

    id: str
    name: str
    hash: Sha256  #: of the secret
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def usable_at(self, moment: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


class Refusal(Record):
    """A source that ingest refused, and why; kept so that nobody has to find out twice."""

    id: str
    source: str
    reason: str
    created_at: datetime
