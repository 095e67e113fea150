"""Every error that dask_em raises on purpose.

::

    DaskEmError
    ├── InputError (ValueError)             the caller's data or arguments
    │   ├── DataError                       values: NaN, infinity, weights, too few rows
    │   ├── SchemaError                     shape, dtype, names, chunks
    │   ├── DegenerateError                 a component collapsed and the policy is "raise"
    │   └── PlanError                       the work cannot fit the memory that it is given
    ├── SourceError (OSError)               a store cannot be found, opened or written
    │   └── ChunkError                      one chunk of it cannot be decoded
    ├── ArchiveError (OSError)              a model cannot be written or read
    ├── ClusterError (ConnectionError)      the scheduler cannot be reached, or was lost
    ├── JobError (RuntimeError)             a job cannot be what is asked of it
    │   ├── UnknownJobError (LookupError)   there is none of that name
    │   └── JobStateError                   it is not in the state for that
    ├── AccessError (PermissionError)       somebody may not do that, or not there
    └── StatisticsError (TypeError)         sums that do not belong together were added

Each names the value, the limit and the remedy, and survives pickling.
"""

from __future__ import annotations

__all__ = [
    "AccessError",
    "ArchiveError",
    "ChunkError",
    "ClusterError",
    "DaskEmError",
    "DataError",
    "DegenerateError",
    "InputError",
    "JobError",
    "JobStateError",
    "PlanError",
    "SchemaError",
    "SourceError",
    "StatisticsError",
    "UnknownJobError",
]


class DaskEmError(Exception):
    """Root of the tree."""


class InputError(DaskEmError, ValueError):
    """The caller's data or arguments cannot be used."""


class DataError(InputError):
    """Values that cannot enter a fit: NaN, infinity, negative weights, too few rows."""


class SchemaError(InputError):
    """A shape, dtype, name or chunk layout that does not fit."""


class DegenerateError(InputError):
    """A component collapsed and the policy forbids repairing it."""


class PlanError(InputError):
    """The work does not fit into the memory that it is given."""


class SourceError(DaskEmError, OSError):
    """A store cannot be found, opened or written."""


class ChunkError(SourceError):
    """One chunk of a store cannot be read or decoded."""


class ArchiveError(DaskEmError, OSError):
    """A saved model cannot be written or read."""


class ClusterError(DaskEmError, ConnectionError):
    """The scheduler cannot be reached, or was lost under the work."""


class JobError(DaskEmError, RuntimeError):
    """A job cannot be what is asked of it."""


class UnknownJobError(JobError, LookupError):
    """There is no job of that name."""


class JobStateError(JobError):
    """A job is not in the state for what is asked of it."""


class AccessError(DaskEmError, PermissionError):
    """Somebody may not do what is asked for, or not there."""


class StatisticsError(DaskEmError, TypeError):
    """Statistics that do not belong together were combined."""
