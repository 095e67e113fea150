"""Mapped rows in passes: the same bits anywhere, kept once mapped, and after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from dask_em import ArchiveError, GaussianMixture, Groups, RowMask, Scale, Standardize
from dask_em.engine.monitor import Monitor, PassRecord
from dask_em.engine.runner import LocalRunner
from dask_em.engine.stream import Reading
from dask_em.estimators.mapping import prepare
from dask_em.mapping.anomaly import Anomaly
from dask_em.sources.mapped import MappedSource
from tests.engine.sources import MadeSource, Script, clusters
from tests.engine.test_cache import bytes_for, passes

ROWS = clusters(6400)
D = ROWS.shape[1]
KEPT = np.random.default_rng(0).random(len(ROWS)) > 0.2
GROUPS = np.arange(len(ROWS)) % 3
NORMALS = np.random.default_rng(1).normal(size=(3, D))
MAPPING = [
    RowMask(KEPT),
    Groups(GROUPS),
    Anomaly(NORMALS, by="groups"),
    Standardize(),
]


def fitted(source: Any, client: Client | None = None, **options: Any) -> GaussianMixture:
    model = GaussianMixture(3, random_state=0, tol=0.0, max_iter=4, algorithm="em")
    given = {"mapping": MAPPING, **options}
    with pytest.warns(UserWarning, match="did not converge"):
        return model.fit(source, client=client, **given)


def bits(model: GaussianMixture) -> bytes:
    step = model.mapping_.steps[-1]
    arrays = (step.means, step.scales, model.means_, model.covariances_, model.lower_bounds_)
    return b"".join(np.asarray(array).tobytes() for array in arrays)


@pytest.fixture(scope="module")
def expected() -> bytes:
    return bits(fitted(MadeSource(ROWS, 50)))


@pytest.mark.parametrize("n_tasks", [1, 4, 128])
def test_tasks(expected: bytes, n_tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_em.engine.plan._n_tasks", lambda *_: n_tasks)
    assert bits(fitted(MadeSource(ROWS, 50))) == expected


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_workers(expected: bytes, n_workers: int) -> None:
    options: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, **options) as cluster,
        Client(cluster) as client,
    ):
        assert bits(fitted(MadeSource(ROWS, 50), client)) == expected


def test_mapped_chunks_are_kept_as_mapped(expected: bytes) -> None:
    source = MadeSource(ROWS, 50)
    mapped = prepare(source, MAPPING).source
    assert isinstance(mapped, MappedSource)
    runner, cache = LocalRunner(2), bytes_for(mapped, 3)
    from dask_em.engine.cache import Cache

    (plain,) = passes(runner, mapped, Reading(mapped.schema), 1)
    kept = Cache("mapped", cache)
    with runner.keeping(kept):
        first, later = passes(runner, mapped, Reading(mapped.schema, cache=kept), 2)
    assert first.statistics.equals(plain.statistics)
    assert later.statistics.equals(plain.statistics)
    assert later.tally.nbytes == 0
    assert later.tally.rows == KEPT.sum()
    other = fitted(MadeSource(ROWS, 50), cache=1 << 28)
    assert bits(other) == expected
    assert other.history_[-1].cached_bytes
    # another mapping of the same chunks, kept at the same time in the same process
    twice = MappedSource(source, mapped.mapping.of_data)
    with runner.keeping(kept), runner.keeping(other_cache := Cache("other", cache)):
        passes(runner, mapped, Reading(mapped.schema, cache=kept), 1)
        found = passes(runner, twice, Reading(twice.schema, cache=other_cache), 2)
    assert not found[1].statistics.equals(plain.statistics)
    assert found[1].statistics.equals(passes(runner, twice, Reading(twice.schema), 1)[0].statistics)


class Killed(Exception):  # noqa: N818
    """Stands for the death of the process."""


class Killing(Monitor):
    def __init__(self, after: int) -> None:
        self.left = after

    def end(self, record: PassRecord) -> None:
        self.left -= record.kind == "em"
        if not self.left:
            raise Killed


@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_fit_ends_at_the_same_bits(expected: bytes, after: int, tmp_path: Path) -> None:
    at = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        GaussianMixture(3, random_state=0, tol=0.0, max_iter=4, algorithm="em").fit(
            MadeSource(ROWS, 50), mapping=MAPPING, checkpoint=at, monitor=Killing(after)
        )
    resumed = fitted(MadeSource(ROWS, 50), checkpoint=at)
    assert bits(resumed) == bits(fitted(MadeSource(ROWS, 50), checkpoint=tmp_path / "another"))
    kinds = [record.kind for record in resumed.history_]
    assert kinds == ["moments", "first", "em", "em", "em", "em"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ([*MAPPING, Scale(2.0)], "mapping is"),
        ([RowMask(~KEPT), *MAPPING[1:]], "mapping"),
        ([MAPPING[0], Groups((GROUPS + 1) % 3), *MAPPING[2:]], "mapping"),
        (None, "mapping is .* there and not given here"),
    ],
)
def test_another_mapping_is_another_fit(mapping: Any, said: str, tmp_path: Path) -> None:
    at = tmp_path / "checkpoint"
    fitted(MadeSource(ROWS, 50), checkpoint=at)
    with pytest.raises(ArchiveError, match=f"that of another fit: .*{said}"):
        GaussianMixture(3, random_state=0, tol=0.0, max_iter=4, algorithm="em").fit(
            MadeSource(ROWS, 50), mapping=mapping, checkpoint=at
        )


def test_bad_chunks_are_skipped_in_the_pass_for_moments(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "data", data=ROWS, chunks=(400, D), compressors=None)
    (tmp_path / "data" / "c" / "3" / "0").write_bytes(b"short")
    with pytest.warns(UserWarning, match="could not be read"):
        model = GaussianMixture(2, random_state=0, on_bad_chunk="skip").fit(
            tmp_path / "data", mapping=[RowMask(KEPT), Standardize()]
        )
    left = KEPT.copy()
    left[1200:1600] = False
    step = model.mapping_.steps[0]
    np.testing.assert_allclose(step.means, ROWS[left].mean(axis=0), rtol=1e-12)
    assert model.history_[0].bad_chunks == model.history_[-1].bad_chunks == 1
    with pytest.warns(UserWarning, match="could not be read"):
        labels = np.asarray(model.predict(tmp_path / "data", mapping=RowMask(KEPT)))
    np.testing.assert_array_equal(labels == -1, ~left)


def test_a_chunk_that_fails_once_is_read_again(client: Client, tmp_path: Path) -> None:
    source = MadeSource(ROWS, 50, script=Script(7, "kill", tmp_path / "died"))
    expected = prepare(MadeSource(ROWS, 50), MAPPING).mapping
    found = prepare(source, MAPPING, client=client).mapping
    assert (tmp_path / "died").exists()
    assert found is not None
    assert expected is not None
    assert found.equals(expected)
