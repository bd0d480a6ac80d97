"""A run in the hands of this process."""

from dataclasses import dataclass

from services.core.job import Job
from services.core.model.backends import Backend
from services.core.model.package import ModelPackage
from services.core.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What it takes to work on a run."""

    run: Run
    job: Job
    package: ModelPackage
    backend: Backend | None  #: None: a threshold needs no network
