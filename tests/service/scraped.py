"""What `/metrics` tells."""

from __future__ import annotations

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

from dask_em.service.metrics import JobCollector
from tests.service.served import Served


def scrape(server: Served) -> dict[tuple[str, str], float]:
    """By name of the metric and value of its label."""
    reply = server.ask("GET", "/metrics")
    assert reply.status == 200
    samples = [
        sample
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    ]
    told = {(one.name, next(iter(one.labels.values()), "")): one.value for one in samples}
    assert ("dask_scheduler_clients", "") in told  # those of distributed are still there
    return {key: value for key, value in told.items() if key[0].startswith("dask_em_")}


def registered() -> int:
    collectors = prometheus_client.REGISTRY._collector_to_names
    return sum(isinstance(one, JobCollector) for one in collectors)
