"""Putting the service on the HTTP server that a scheduler has already."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.http.health import HealthHandler
from tornado.routing import PathMatches, Rule, RuleRouter

from dask_em.errors import AccessError
from dask_em.service import metrics
from dask_em.service.http.closed import Closed
from dask_em.service.http.exposure import check_exposure
from dask_em.service.http.gate import Gate, Stop
from dask_em.service.http.handlers import Endpoint, Unknown, close_streams
from dask_em.service.http.hosts import Hosts
from dask_em.service.http.table import TABLE

if TYPE_CHECKING:
    from distributed import Scheduler

    from dask_em.service.supervisor import Supervisor

__all__ = ["install"]

logger = logging.getLogger(__name__)

PLUGIN = "em-http"
#: below /em, the page that has this name answers these itself
OF_THE_PAGE = r"(?!(?:ws|metadata|autoload\.js)?$)"


def install(scheduler: Scheduler) -> None:
    """Serve the jobs of a scheduler over its HTTP server, behind the gate.

    It may be called again, with other settings. Where jobs may not be changed over
    HTTP, because anybody could, that is logged, and every request to change one is refused with the
    reason; what only reads stays.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        With the service as its extension `em`; called on its event loop.
    """
    service = cast("Supervisor", scheduler.extensions["em"])
    settings = service.settings
    prefix = _prefix(scheduler)
    hosts = Hosts(settings.hosts)
    hosts.ask()
    open_paths = ["/health", *settings.open_paths]
    _stand(scheduler, Gate(settings.token, hosts, [prefix + path for path in open_paths]))
    _open(scheduler)
    _add_routes(scheduler, prefix)
    metrics.register(scheduler)
    if PLUGIN not in scheduler.plugins:
        scheduler.add_plugin(_Closing(scheduler), name=PLUGIN)
    try:
        check_exposure(scheduler, settings.token)
    except AccessError as error:
        logger.warning("%s", error)


class _Closing(SchedulerPlugin):
    """Ends with a scheduler what would outlive it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    async def before_close(self) -> None:
        close_streams(self.scheduler)
        metrics.unregister(self.scheduler)


def _stand(scheduler: Scheduler, gate: Gate) -> None:
    """Put a gate before all rules, in the place of one that stands there."""
    router = scheduler.http_application.default_router
    others = [rule for rule in router.rules if not isinstance(rule.matcher, Gate)]
    router.rules[:] = [Rule(gate, Stop), *others]


def _open(scheduler: Scheduler) -> None:
    """Take away what kept the scheduler closed while it had no gate."""
    rules = scheduler.http_application.wildcard_router.rules
    rules[:] = [rule for rule in rules if rule.target is not Closed]


def _add_routes(scheduler: Scheduler, prefix: str) -> None:
    application = scheduler.http_application
    if any(rule.target is Endpoint for rule in _rules(application.default_router)):
        return
    server = {"dask_server": scheduler}
    routes: list[Any] = [
        (prefix + route.pattern, Endpoint, {"route": route, **server}) for route in TABLE
    ]
    application.add_handlers(".*", [*routes, (rf"{prefix}/em/{OF_THE_PAGE}.*", Unknown, server)])


def _prefix(scheduler: Scheduler) -> str:
    """Below which path a scheduler serves: it does not tell, its routes do."""
    for rule in _rules(scheduler.http_application.default_router):
        if rule.target is HealthHandler and isinstance(rule.matcher, PathMatches):
            return rule.matcher.regex.pattern.removesuffix("$").removesuffix("/health")
    return ""


def _rules(router: RuleRouter) -> Iterator[Rule]:
    """All rules, also of routers within a router."""
    for rule in router.rules:
        yield rule
        if isinstance(rule.target, RuleRouter):
            yield from _rules(rule.target)
