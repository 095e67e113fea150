"""Bytes of the samples that meet on a worker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dask_em.engine.plan import Plan, Resources
from dask_em.engine.sample import Sampling
from dask_em.engine.sample_memory import gathered_bytes, sample_bytes
from dask_em.engine.source import Schema
from dask_em.engine.stream import Reading

KNOWN = Schema(8, np.dtype(float), (1 << 22,), 16, 16 << 20, None, "rows", stored_bytes=None)
UNKNOWN = replace(KNOWN, sample_shape=None)
RESOURCES = Resources(8, 2, None)
PLAN = Plan(16, 16, 0, 0, None)


def gathered(schema: Schema, size: int | None = None, n_workers: int = 1) -> int:
    sampling = Sampling.of(schema, Reading(schema), size)
    return gathered_bytes(sampling, schema, PLAN, RESOURCES, n_workers)


def sample(size: int | None = None) -> int:
    return sample_bytes(Sampling.of(UNKNOWN, Reading(UNKNOWN), size), UNKNOWN)


def test_of_rows_of_unknown_number_each_task_brings_a_sample() -> None:
    assert gathered(KNOWN) < 4 * sample()
    assert gathered(UNKNOWN) > 16 * sample()
    assert gathered(UNKNOWN, n_workers=1) > gathered(UNKNOWN, n_workers=4) > 8 * sample()


def test_but_no_more_than_its_rows() -> None:
    rows = 1 << 18  # of a chunk, which is what a task has
    assert gathered(UNKNOWN, rows) == gathered(UNKNOWN, 10 * rows)
    assert gathered(UNKNOWN, rows) > 1.9 * gathered(UNKNOWN, rows // 2)
