"""How the page comes into the dashboard of a scheduler.

Dask has no interface for that: its pages are a table that it reads once, its tabs a list that all
pages share. What is not as it is known here is told by a warning, and never harms the scheduler.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from bokeh.server.tornado import BokehTornado
    from distributed import Scheduler

__all__ = ["install"]

logger = logging.getLogger(__name__)

TAB = "em"
_MISSING = (AttributeError, ImportError, KeyError, TypeError, ValueError)


def install(scheduler: Scheduler) -> bool:
    """Add the pages and their tab to the dashboard of a scheduler that runs, unless it has them.

    Call it on the scheduler's event loop.

    Parameters
    ----------
    scheduler : Scheduler

    Returns
    -------
    bool
        Whether the dashboard has them now; not where it is off, or where Bokeh is missing.
    """
    try:
        from bokeh.server.tornado import BokehTornado
        from distributed.dashboard import scheduler as dashboard
    except ImportError:
        return False
    try:
        served = scheduler.http_application.applications
        running = next((one for one in served if isinstance(one, BokehTornado)), None)
        if running is None:
            return False
        variables = dashboard.template_variables(scheduler)
        _serve(running, scheduler, variables)
        _list(variables)
    except _MISSING as error:
        _warn(error)
        return False
    return True


def _serve(running: BokehTornado, scheduler: Scheduler, variables: dict[str, Any]) -> None:
    """Have the pages served that are not yet.

    They are made into an application of Bokeh, as Dask makes its own, and what that would serve is
    handed to the one that runs: it alone then keeps their sessions and lists them for JupyterLab.
    """
    from distributed.dashboard.core import BokehApplication

    from dask_em.dashboard.page import DOCUMENTS

    new = {path: doc for path, doc in DOCUMENTS.items() if path not in running.app_paths}
    if not new:
        return
    made = BokehApplication(new, scheduler, prefix=running.prefix, template_variables=variables)
    made.initialize(running.io_loop)
    rules = [
        (rule.matcher.regex.pattern, rule.target, rule.target_kwargs)
        for rule in made.wildcard_router.rules
    ]
    running.add_handlers(r".*", rules)
    cast("dict[str, Any]", running.applications).update(made.applications)
    if not running.app_paths.issuperset(new):
        raise AttributeError("BokehTornado.applications is no longer what it serves")


def _list(variables: dict[str, Any]) -> None:
    """Add the tab, and the panels to the menu of plots. All pages share these lists."""
    from dask_em.dashboard.page import DOCUMENTS

    pages, plots = variables["pages"], variables["plots"]
    if TAB not in pages:
        pages.insert(pages.index("info") if "info" in pages else len(pages), TAB)
    known = {plot["url"] for plot in plots}
    for path in DOCUMENTS:
        url = path.strip("/")
        if url.startswith("individual-") and url not in known:
            name = url.removeprefix("individual-").replace("-", " ").title()
            plots.append({"url": url, "name": name})
    plots.sort(key=lambda plot: str(plot["name"]))


def _warn(error: Exception) -> None:
    logger.warning(
        "The page of dask_em is not in the dashboard: this version of Dask or Bokeh is not as it "
        "was known (%s: %s). Jobs are not affected; watch them with `dask-em watch`.",
        type(error).__name__,
        error,
    )
