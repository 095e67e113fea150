"""Collectors come and go with schedulers."""

from __future__ import annotations

import pytest
from distributed.http.scheduler.prometheus import core

from dask_em.service.http import install
from dask_em.service.metrics import JobCollector, register, unregister
from tests.service.scraped import registered, scrape
from tests.service.served import served


def test_the_collector_leaves_with_the_last_scheduler() -> None:
    with served(dashboard=False) as first:
        scrape(first)
        with served(dashboard=False) as second:
            scrape(second)
            assert registered() == 1
        assert registered() == 1
        assert ("dask_em_jobs", "queued") in scrape(first)
    assert registered() == 0
    assert JobCollector not in core.COLLECTORS
    with served(dashboard=False) as again:
        assert ("dask_em_jobs", "queued") in scrape(again)
    assert registered() == 0


@pytest.mark.parametrize("asked", [False, True])
def test_it_is_registered_once_whenever_somebody_asked(asked: bool) -> None:
    with served(dashboard=False) as found:
        found.call(lambda: unregister(found.scheduler))
        if asked:
            assert scrape(found) == {}
        for _ in range(3):
            found.call(lambda: register(found.scheduler))
        found.call(lambda: install(found.scheduler))
        assert scrape(found)["dask_em_jobs", "queued"] == 0
        assert registered() == 1
        found.call(lambda: unregister(found.scheduler))
        found.call(lambda: unregister(found.scheduler))
        assert scrape(found) == {}
        assert registered() == 0
