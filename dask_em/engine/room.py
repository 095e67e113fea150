"""Room: how much memory a cache may have beside what a plan promises."""

from __future__ import annotations

import operator
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from dask_em.engine.cache import Cache
from dask_em.engine.plan import BASELINE, USABLE, Plan, Resources, readable_bytes
from dask_em.errors import InputError, PlanError

__all__ = ["parse_cache"]

#: share of the memory that is free on this machine; other fits may be about to ask the same
LOCAL_SHARE = 0.25
#: where Linux says what a container may use, for both versions of control groups
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_cache(value: Any, plan: Plan, resources: Resources, local: bool) -> Cache | None:
    """What `cache=` means.

    Parameters
    ----------
    value : {"auto", "off"} or int
        Bytes for each worker; "auto" takes what a worker's memory limit leaves beside the tasks,
        or a share of this machine's free memory.
    plan : Plan
        Whose tasks need memory first.
    resources : Resources
        What the plan was made for.
    local : bool
        Whether the work is done on the threads of this process.

    Returns
    -------
    Cache or None
        A new one, for one fit; None if nothing is to be kept.

    Raises
    ------
    InputError
        If the value is none of these.
    PlanError
        If a worker has not so much memory.
    """
    if isinstance(value, str) and value in ("auto", "off"):
        nbytes = 0 if value == "off" else _room(plan, resources, local) or 0
    else:
        nbytes = _bytes(value)
        _check(nbytes, _room(plan, resources, local), plan)
    return Cache(uuid.uuid4().hex, nbytes) if nbytes else None


def _bytes(value: Any) -> int:
    error = InputError(
        f'cache={value!r}; it is "auto", "off", or how many bytes each worker may keep, e.g. '
        "2_000_000_000"
    )
    if isinstance(value, bool):
        raise error
    try:
        nbytes = operator.index(value)
    except TypeError:
        raise error from None
    if nbytes < 0:
        raise error
    return nbytes


def _check(nbytes: int, room: int | None, plan: Plan) -> None:
    if room is not None and nbytes > room:
        raise PlanError(
            f"cache={nbytes} asks for {readable_bytes(nbytes)} of each worker, but beside the "
            f"{readable_bytes(plan.worker_bytes)} of its tasks it has {readable_bytes(room)} to "
            f'spare; pass cache="auto" to use just that, or give each worker '
            f"{readable_bytes(_limit_for(nbytes, plan))}"
        )


def _room(plan: Plan, resources: Resources, local: bool) -> int | None:
    """Bytes that a worker can spare; None where nobody knows."""
    if local:
        return max(0, int(LOCAL_SHARE * _free_bytes()) - plan.worker_bytes)
    if resources.worker_memory is None:
        return None
    # the whole process stays below the share: above it Dask would take memory back
    return max(0, int(USABLE * resources.worker_memory) - BASELINE - plan.worker_bytes)


def _limit_for(nbytes: int, plan: Plan) -> float:
    return (nbytes + BASELINE + plan.worker_bytes) / USABLE


def _free_bytes() -> int:
    """What this process may still take, here or in its container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for path in CGROUP_LIMITS:
        # there is none, or it reads "max"
        with suppress(OSError, ValueError):
            free = min(free, int(Path(path).read_text()) - int(psutil.Process().memory_info().rss))
    return max(0, free)
