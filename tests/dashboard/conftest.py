"""Pages of made-up jobs."""

from __future__ import annotations

import pytest

from dask_em.dashboard import feed
from tests.dashboard.opened import Host
from tests.dashboard.reports import Reports


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new is asked for and drawn at each update."""
    monkeypatch.setattr(feed, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(feed, "SKETCH_SECONDS", 0.0)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def host(reports: Reports) -> Host:
    return Host(reports)
