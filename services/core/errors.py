"""Every class of error Swath raises on purpose, sorted by what the caller should do about it.

::

    SwathError
    ├── RetryableError (75)  the same input may work later
    │   ├── StorageUnavailableError     object store or disk does not answer
    │   └── DatabaseUnavailableError    catalog does not answer
    ├── PermanentError (65)  this input never will
    │   ├── ObjectNotFoundError         no such file, object, scene, run or model
    │   ├── UnreadableSceneError        not a raster we read, cut short, or damaged
    │   ├── UnanswerableError           pixels that a network has no number for
    │   ├── GeoreferenceError           no CRS, no transform, or one we cannot place
    │   ├── BandMismatchError           a band the model needs is missing or ambiguous
    │   ├── ContractError               scene or package breaks the model's contract
    │   ├── PackageError                a model package that is damaged or unsafe
    │   ├── WindowError                 a window that is empty or outside its raster
    │   ├── CoverageError               a product with tiles nobody accounted for
    │   ├── NondeterminismError         one unit computed twice gave different bytes
    │   └── RequestError                an argument that makes no sense
    ├── ConflictError (75)   somebody else owns it
    │   └── RunClaimedError             another process is working on this run
    └── ConfigError (78)     the installation is wrong
        ├── StorageRefusedError         credentials, bucket, permission, read-only folder
        ├── BackendUnavailableError     no inference library for this package
        └── MemoryBudgetError           one tile does not fit the memory allowed

Client exceptions are translated once, in the module that is the client's home. `exit_code` follows
sysexits.h, so a Kubernetes podFailurePolicy can tell the classes apart.
"""

from typing import ClassVar


class SwathError(Exception):
    """One sentence: what was wrong with what, and what to do."""

    exit_code: ClassVar[int] = 1


class RetryableError(SwathError):
    """The same input may work later."""

    exit_code = 75


class StorageUnavailableError(RetryableError):
    """The object store or disk does not answer, or is full."""


class DatabaseUnavailableError(RetryableError):
    """The catalog does not answer."""


class PermanentError(SwathError):
    """This input never will work."""

    exit_code = 65


class ObjectNotFoundError(PermanentError):
    """No such file, object, scene, run or model."""


class UnreadableSceneError(PermanentError):
    """Not a raster Swath reads, cut short, or damaged."""


class UnanswerableError(PermanentError):
    """A network has no number for these pixels."""


class GeoreferenceError(PermanentError):
    """No CRS, no transform, or one that cannot be placed."""


class BandMismatchError(PermanentError):
    """A band is missing, ambiguous, or on another grid."""


class ContractError(PermanentError):
    """The scene or request does not meet the model's contract."""


class PackageError(PermanentError):
    """A model package is damaged, incomplete or unsafe."""


class WindowError(PermanentError):
    """A window is empty or outside its raster."""


class CoverageError(PermanentError):
    """Some tile of the product is not accounted for."""


class NondeterminismError(PermanentError):
    """One unit, computed twice from the same inputs, gave different bytes."""


class RequestError(PermanentError):
    """An argument makes no sense."""


class ConflictError(SwathError):
    """Somebody else owns it or already did it."""

    exit_code = 75


class RunClaimedError(ConflictError):
    """Another process is working on this run."""


class ConfigError(SwathError):
    """The installation or its settings are wrong."""

    exit_code = 78


class StorageRefusedError(ConfigError):
    """Credentials, bucket or permission: asking again will not help."""


class BackendUnavailableError(ConfigError):
    """No installed inference library can run this package."""


class MemoryBudgetError(ConfigError):
    """One unit of work does not fit the memory allowed."""
