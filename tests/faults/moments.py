"""How long faults are looked for: little in each run of all tests, as long as one likes on demand.

DASK_EM_FAULTS=1 runs those tests of faults that take long, and DASK_EM_MOMENTS=20 kills what is
killed at random at 20 moments of its work. They are chosen anew in each run.
"""

from __future__ import annotations

import os

import pytest

__all__ = ["long", "moments"]

#: of a module or a test
long = pytest.mark.skipif(
    not os.environ.get("DASK_EM_FAULTS"), reason="it takes long; DASK_EM_FAULTS=1 runs it"
)


def moments(usual: int) -> int:
    """The usual number of moments at which something is killed, or what is asked for."""
    return int(os.environ.get("DASK_EM_MOMENTS", usual))
