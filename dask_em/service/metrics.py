"""Figures of jobs for Prometheus, on the `/metrics` of a scheduler beside its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import dask.config
import prometheus_client
from distributed.http.scheduler.prometheus import core
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dask_em.errors import ClusterError
from dask_em.service.job import State

if TYPE_CHECKING:
    from distributed import Scheduler
    from prometheus_client import Metric

    from dask_em.service.view import JobView

__all__ = ["JobCollector", "register", "unregister"]

#: running jobs that have series of their own, the newest ones: each is kept for as long as
#: Prometheus keeps anything
MOST_JOBS = 50

COUNTERS = {
    "submissions": ("submissions", "Jobs that were submitted"),
    "refusals": ("refusals", "Submissions that were refused"),
    "driver_restarts": ("driver_restarts", "Drivers that were started again after a loss"),
    "passes": ("passes", "Passes over the data of jobs"),
    "rows": ("rows_read", "Rows that passes read"),
    "nbytes": ("bytes_read", "Bytes that passes read and decoded"),
}

#: schedulers whose jobs are told
_users: WeakSet[Scheduler] = WeakSet()
#: of distributed: keeps its collectors once it has been asked
_handler: Any = core.PrometheusHandler
_collectors: list[Any] = core.COLLECTORS


class JobCollector(Collector):
    """Tells the jobs of the scheduler that is asked.

    `server` is set by the handler of `/metrics` whenever somebody asks, as for the collectors of
    distributed: so each of several schedulers in one process tells its own.
    """

    def __init__(self, server: Scheduler) -> None:
        self.server = server

    def describe(self) -> list[Metric]:
        """Nothing: what is told depends on the scheduler that is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        service: Any = self.server.extensions.get("em")
        if service is None:
            return
        try:
            jobs = service.jobs()
        except ClusterError:  # it has not read its store yet, or another service has it now
            return
        yield self._states(jobs)
        for field, (name, words) in COUNTERS.items():
            value = getattr(service.counters, field)
            yield CounterMetricFamily(_name(name), words, value=value)
        yield from self._running(service, [job for job in jobs if job.state == State.running])

    def _states(self, jobs: list[JobView]) -> Metric:
        family = GaugeMetricFamily(_name("jobs"), "Jobs by state", labels=["state"])
        counts = Counter(job.state for job in jobs)
        for state in State:
            family.add_metric([state], counts[state])
        return family

    def _running(self, service: Any, jobs: list[JobView]) -> Iterator[Metric]:
        objective = GaugeMetricFamily(
            _name("job_log_likelihood"),
            "Of the last pass of a running job, nats per row",
            labels=["job"],
        )
        seconds = GaugeMetricFamily(
            _name("job_pass_seconds"),
            "Wall time of the last pass of a running job",
            labels=["job"],
        )
        for job in jobs[:MOST_JOBS]:
            last = service.trace(job.id, max(0, job.passes - 1))[-1:]
            if job.objective is not None:
                objective.add_metric([job.id], job.objective)
            if last:
                seconds.add_metric([job.id], last[0].seconds)
        yield objective
        yield seconds


def register(scheduler: Scheduler) -> None:
    """Have `/metrics` tell the jobs of a scheduler, until it is taken out."""
    _users.add(scheduler)
    if JobCollector not in _collectors:
        _collectors.append(JobCollector)  # for when `/metrics` is asked for the first time
    present = _handler._collectors
    if present and not any(isinstance(one, JobCollector) for one in present):
        collector = JobCollector(scheduler)
        prometheus_client.REGISTRY.register(collector)
        _handler._collectors = (*present, collector)


def unregister(scheduler: Scheduler) -> None:
    """Take a scheduler out; with the last one, the collector leaves the registry."""
    _users.discard(scheduler)
    if _users:
        return
    if JobCollector in _collectors:
        _collectors.remove(JobCollector)
    for one in _handler._collectors or ():
        if isinstance(one, JobCollector):
            prometheus_client.REGISTRY.unregister(one)
            _handler._collectors = tuple(
                other for other in _handler._collectors if other is not one
            )


def _name(name: str) -> str:
    """A name below those of Dask."""
    namespace = dask.config.get("distributed.dashboard.prometheus.namespace")
    return "_".join(filter(None, (namespace, "em", name)))
