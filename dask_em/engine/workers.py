"""The workers that a cluster has now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["workers_of"]


def workers_of(client: Client) -> dict[str, Any]:
    """What the scheduler knows of each worker, by address.

    ``client.scheduler_info(n_workers=-1)`` returns what the client noted last, and every two
    seconds it notes that there are workers but none of them.
    """
    scheduler: Any = client.scheduler
    told: dict[str, Any] = client.sync(scheduler.identity, n_workers=-1)
    return dict(told["workers"])
