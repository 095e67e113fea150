"""`dask-em plan`, and waiting for workers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from distributed import LocalCluster

from dask_em.engine.probe import Measured
from tests.cli.conftest import run


def planned(*words: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("plan", *words, "--json").stdout)
    return found


def test_says_what_a_fit_costs(store: str) -> None:
    text = run("plan", store, "-k", 3, "--covariance", "diag").stdout
    assert "12,000 rows of 3 features" in text
    assert "288 kB decoded a pass" in text
    assert "3 to 8 expected (accelerated)" in text
    assert "a pass, " in text
    assert text.splitlines()[-1].endswith(
        f"dask-em fit {store} -k 3 --covariance diag --out model.zarr"
    )


def test_json(store: str) -> None:
    found = planned(store, "-k", 3)
    assert found["data"] == store
    assert (found["n_rows"], found["nbytes"]) == (12_000, 288_000)
    assert found["seconds"] > 0


def test_without_a_probe_nothing_is_read(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Measured, "__init__", None)
    found = planned(store, "-k", 3, "--no-probe")
    assert found["seconds"] is None
    assert found["unmeasured"] == "no probe was wanted"


def test_on_a_cluster(store: str) -> None:
    found = planned(store, "-k", 3, "--workers", 2, "--memory", "1GB")
    assert (found["n_workers"], found["worker_memory"]) == (2, 1_000_000_000)


def test_what_cannot_fit_is_refused_before_a_cluster_starts(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.cli.plan.connected", None)
    result = run("plan", store, "-k", 3, "--workers", 2, "--memory", "1MB", code=1)
    assert not result.stdout
    assert "give each worker" in result.stderr


def test_missing_values_are_told_as_the_fit_tells_them(fields: str) -> None:
    words = ["plan", fields, "-k", 2, "--features", "u,v"]
    assert "--missing drop" in run(*words, code=1).stderr
    assert "--features u,v" in run(*words, "--missing", "drop").stdout


@pytest.mark.parametrize("command", ["plan", "fit", "sweep"])
def test_a_cluster_without_workers(store: str, command: str) -> None:
    with LocalCluster(
        n_workers=0, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as empty:
        words = [command, store, "-k", 3, "--scheduler", empty.scheduler_address, "--timeout", 1]
        out = ["--out", "model.zarr"] if command == "fit" else []
        stderr = run(*words, *out, code=1).stderr
    assert "waiting up to 1 s" in stderr
    assert "has had no worker for 1 s" in stderr
