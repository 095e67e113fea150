"""Routes, as `distributed.scheduler.http.routes` of Dask's configuration takes them."""

from __future__ import annotations

from typing import Any

from dask_em.service.http.handlers import Endpoint, Unknown
from dask_em.service.http.table import TABLE

__all__ = ["routes"]

#: below /em, the page that has this name answers these itself
OF_THE_PAGE = r"(?!(?:ws|metadata|autoload\.js)?$)"

routes: list[tuple[str, Any, dict[str, Any]]] = [
    *((route.pattern, Endpoint, {"route": route}) for route in TABLE),
    (rf"/em/{OF_THE_PAGE}.*", Unknown, {}),
]
