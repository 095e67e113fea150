"""Jobs over HTTP: routes on the server of a scheduler, and the gate before it."""

from __future__ import annotations

from dask_em.service.http.exposure import check_exposure
from dask_em.service.http.wiring import install

__all__ = ["check_exposure", "install"]
