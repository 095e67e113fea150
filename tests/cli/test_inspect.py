"""`dask-em inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import run


def inspected(*words: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("inspect", *words, "--json").stdout)
    return found


def test_says_what_there_is(store: str) -> None:
    text = run("inspect", store).stdout
    assert "12,000 in the shape (40, 300)" in text
    assert "288 kB decoded" in text
    assert "0 (0.00%) of 12,000 rows" in text
    assert f"dask-em fit {store} -k 8" in text


def test_json(store: str) -> None:
    found = inspected(store)
    assert found["rows"] == 12_000
    assert found["sample_shape"] == [40, 300]
    assert found["decoded_bytes"] == 12_000 * 3 * 8
    assert found["plan"]["tasks_per_pass"] >= 1
    assert found["looked_at"]["rows_with_nan"] == 0


def test_counts_what_is_missing(fields: str) -> None:
    words = [fields, "--features", "u,v"]
    found = inspected(*words)
    assert found["feature_names"] == ["u", "v"]
    assert found["looked_at"]["rows_with_nan"] == 200
    text = run("inspect", *words).stdout
    assert "--missing drop" in text
    assert "--features u,v" in text.splitlines()[-1]


def test_plan_that_does_not_fit_is_told(store: str) -> None:
    plan = inspected(store, "--workers", 2, "--memory", "1MB")["plan"]
    assert "give each worker" in plan["refused"]


def test_group_without_features(fields: str) -> None:
    stderr = run("inspect", fields, code=1).stderr
    assert "error: group" in stderr
    assert "--features u,v" in stderr


def test_nothing_there(folder: object) -> None:
    result = run("inspect", "nowhere.zarr", code=1)
    assert not result.stdout
    assert "does not exist" in result.stderr


def test_unreadable_chunks(store: str) -> None:
    Path(store, "c", "3", "0", "0").write_bytes(b"not zstd")
    assert "pass --on-bad-chunk skip" in run("inspect", store, code=1).stderr
    looked_at = inspected(store, "--on-bad-chunk", "skip")["looked_at"]
    assert (looked_at["bad_chunks"], looked_at["rows"]) == (1, 39 * 300)
    text = run("inspect", store, "--on-bad-chunk", "skip").stdout
    assert "1 chunk looked at; 1 unreadable chunk skipped" in text
