"""What a checkpoint holds, whose it is, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from dask_em import (
    ArchiveError,
    Gaussian,
    GaussianMixture,
    Mixture,
    Outcome,
    SourceError,
    Spherical,
    Stopping,
    archive,
)
from dask_em.core.corrected import Known
from dask_em.core.records import Record
from dask_em.engine import checkpoint as module
from dask_em.engine.checkpoint import Checkpoint
from dask_em.engine.fit import fit
from dask_em.engine.mending import MOST_RESEEDS
from dask_em.engine.monitor import Monitor
from dask_em.engine.packed import Packed
from dask_em.models.seeding import KMeans, RandomRows
from dask_em.sources.arrays import NumpySource
from dask_em.sources.registry import open_source
from tests.engine.sources import MadeSource, clusters, overlapping
from tests.sources.cases import DASK, NUMPY, ZARR

MIXTURE = Mixture(Gaussian(), 3, KMeans())
ROWS = clusters(3000)
SOURCE = MadeSource(ROWS, 100)
ALGORITHMS = ["em", "accelerated"]


def run(checkpoint=None, n=6, model=MIXTURE, source=SOURCE, seed=0, **options):
    rng = None if seed is None else np.random.default_rng(seed)
    options = {"algorithm": "em", "stopping": Stopping(0, n)} | options
    return fit(model, source, rng=rng, checkpoint=checkpoint, **options)


def told(fitted):
    """All that a fit gives but the time it took."""
    passes = [
        (
            r.kind,
            r.iteration,
            r.objective,
            r.gain,
            r.rows,
            r.repairs,
            r.step,
            r.gap,
            r.kernel,
            r.sample_rows,
        )
        for r in fitted.history
    ]
    tree, arrays = fitted.parameters.flatten()
    return (
        passes,
        fitted.objective,
        fitted.outcome,
        tree,
        {n: a.tobytes() for n, a in arrays.items()},
    )


class Counting(Monitor):
    def __init__(self):
        self.passes, self.records = 0, []

    @property
    def objectives(self):
        return [record.objective for record in self.records]

    def begin(self, kind, iteration, n_tasks):
        self.passes += 1

    def end(self, record):
        self.records.append(record)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_fit_goes_on_where_it_stopped(algorithm, n, tmp_path):
    expected = told(run(algorithm=algorithm))
    run(tmp_path / "ck", n, algorithm=algorithm)
    seen = Counting()
    assert told(run(tmp_path / "ck", algorithm=algorithm, monitor=seen)) == expected
    assert seen.passes == 6 - n  # the sample is not read again
    assert [record.kind for record in seen.records] == ["first"] + 6 * ["em"]


GROWING = {"source": MadeSource(overlapping(), 3000), "algorithm": "accelerated"}
GROWING |= {"init_sample": 400, "n": 6}


def test_a_fit_whose_sample_grows_goes_on_with_what_it_had(tmp_path, monkeypatch):
    """Also where it was killed when the larger sample was written and the pass was not."""
    expected = told(run(**GROWING))
    assert len(grown(run(**GROWING))) > 2
    for stop in range(1, 6):
        run(tmp_path / f"{stop}", **GROWING | {"n": stop})
        assert told(run(tmp_path / f"{stop}", **GROWING)) == expected
    with monkeypatch.context() as killed:
        killed.setattr(Checkpoint, "keep", failing(Checkpoint.keep, 3))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "ck", **GROWING)
    assert told(run(tmp_path / "ck", **GROWING)) == expected


def grown(fitted):
    return [record.sample_rows for record in fitted.history if record.sample_rows]


def failing(keep, at):
    """Killed before it writes for the so-manieth time."""
    calls = iter(range(1, 100))

    def instead(*arguments):
        if next(calls) == at:
            raise KeyboardInterrupt
        return keep(*arguments)

    return instead


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_finished_fit_costs_no_pass_and_stays_as_it_is(algorithm, tmp_path):
    first = run(tmp_path / "ck", algorithm=algorithm, stopping=Stopping(1e-3, 100))
    assert first.outcome is Outcome.CONVERGED
    seen = Counting()
    again = run(tmp_path / "ck", algorithm=algorithm, stopping=Stopping(1e-3, 100), monitor=seen)
    assert told(again) == told(first)
    assert not seen.passes


def test_several_starts_go_on_each_where_it_stopped(tmp_path):
    model = Mixture(Gaussian(), 3, RandomRows())
    expected = run(model=model, n_init=3)
    run(tmp_path / "ck", 2, model=model, n_init=3)
    assert told(run(tmp_path / "ck", model=model, n_init=3)) == told(expected)
    assert len({name.partition("-pass")[0] for name in os.listdir(tmp_path / "ck")} - FILES) == 3


FILES = {"checkpoint.json", "sample-000000003000"}


@pytest.mark.parametrize("at", range(1, 9))
def test_several_starts_that_are_interrupted_anywhere(at, tmp_path):
    model = Mixture(Gaussian(), 3, RandomRows())
    whole, seen = Counting(), Counting()
    expected = told(run(model=model, n_init=3, n=3, monitor=whole))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "ck", 3, model=model, n_init=3, monitor=Interrupting(at + 1))
    assert told(run(tmp_path / "ck", 3, model=model, n_init=3, monitor=seen)) == expected
    assert seen.objectives == whole.objectives  # of all starts, not of the best alone


class Interrupting(Monitor):
    """Somebody presses Ctrl-C when a pass begins."""

    def __init__(self, at):
        self.at = at

    def begin(self, kind, iteration, n_tasks):
        self.at -= 1
        if not self.at:
            raise KeyboardInterrupt


def test_without_a_seed_chance_is_that_of_the_checkpoint(tmp_path):
    model = Mixture(Gaussian(), 3, RandomRows())
    run(tmp_path / "ck", 1, model=model, n_init=2, seed=None)
    shutil.copytree(tmp_path / "ck", tmp_path / "copy")
    one = run(tmp_path / "ck", 4, model=model, n_init=2, seed=None)
    assert told(run(tmp_path / "copy", 4, model=model, n_init=2, seed=None)) == told(one)


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_generator_goes_on(generator, tmp_path):
    model = Mixture(Gaussian(), 3, RandomRows())

    def go(seen, checkpoint=None):
        rng, stopping = np.random.Generator(generator(3)), Stopping(0, 2)
        options = {"algorithm": "em", "n_init": 3, "stopping": stopping, "checkpoint": checkpoint}
        return fit(model, SOURCE, rng=rng, monitor=seen, **options)

    whole, seen = Counting(), Counting()
    expected = told(go(whole))
    with pytest.raises(KeyboardInterrupt):
        go(Interrupting(3), tmp_path / "ck")
    assert told(go(seen, tmp_path / "ck")) == expected
    assert seen.objectives == whole.objectives


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_repairs_and_moves_of_components_go_on(algorithm, tmp_path):
    """Six components for four places: two are moved, which costs likelihood, but not for ever."""
    places = 5 * np.random.default_rng(3).normal(size=(4, 3))
    rows = MadeSource(places[np.random.default_rng(0).integers(4, size=2000)], 100)
    options = {
        "source": rows,
        "model": Mixture(Gaussian(), 6, RandomRows()),
        "algorithm": algorithm,
    }
    expected = run(n=7, **options)
    if algorithm == "em":
        moved = [r for r in expected.history if any("moved" in one.action for one in r.repairs)]
        assert len(moved) == MOST_RESEEDS
        assert moved[0].gain < -1e-3
    for n in range(1, 7):
        run(tmp_path / f"ck{n}", n, **options)
        assert told(run(tmp_path / f"ck{n}", 7, **options)) == told(expected)


def _block():
    return SOURCE.partition(range(SOURCE.schema.n_chunks)).open()(0).block


def test_rows_with_weights_and_rows_left_out(tmp_path):
    rows = ROWS.copy()
    rows[::7, 0] = np.nan
    source = NumpySource(rows, np.random.default_rng(1).uniform(size=len(rows)))
    for algorithm in ALGORITHMS:
        expected = told(run(source=source, missing="drop", algorithm=algorithm))
        run(tmp_path / algorithm, 2, source=source, missing="drop", algorithm=algorithm)
        again = run(tmp_path / algorithm, source=source, missing="drop", algorithm=algorithm)
        assert told(again) == expected


def test_only_the_last_pass_is_there(tmp_path):
    run(tmp_path / "ck", 4)
    names = FILES | {"start-0-pass-000004"}
    assert set(os.listdir(tmp_path / "ck")) == names


def test_files_of_any_file_system(tmp_path):
    import fsspec

    url = f"memory://{tmp_path.name}/ck"
    expected = told(run())
    run(url, 3)
    files = fsspec.filesystem("memory")
    assert len(files.ls(f"/{tmp_path.name}/ck")) == 3
    # a process that was killed while it wrote: an object store knows no renaming
    half = {archive.MANIFEST: {"format": "dask_em model", "complete": False}}
    zarr.create_group(f"{url}/start-0-pass-000004", attributes=half)
    files.pipe(f"{url}/start-0-pass-000005/data/c/0", b"lost")
    assert told(run(url)) == expected


def test_a_store_that_does_not_answer_is_not_taken_for_empty(tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}/ck"
    run(url, 3)
    monkeypatch.setattr(archive, "_open", denied)
    with pytest.raises(ArchiveError, match="Permission denied"):
        run(url)


OTHER = {
    "model.n_components is 3 there and 4 here": {"model": Mixture(Gaussian(), 4, KMeans())},
    "structure is Full there and Spherical": {"model": Mixture(Gaussian(Spherical()), 3, KMeans())},
    "reg_covar": {"model": Mixture(Gaussian(reg_covar=1e-3), 3, KMeans())},
    "model.start is KMeans there and RandomRows here": {
        "model": Mixture(Gaussian(), 3, RandomRows())
    },
    "rows' rows is .3000,. there and .2999,. here": {"source": MadeSource(ROWS[1:], 100)},
    "rows' chunks": {"source": MadeSource(ROWS, 200)},
    "dtype is float64 there and float32 here": {"source": MadeSource(ROWS.astype("f4"), 100)},
    "algorithm is em there and accelerated here": {"algorithm": "accelerated"},
    "n_init is 1 there and 2 here": {"n_init": 2},
    "init_sample is not given there and 500 here": {"init_sample": 500},
    "missing is error there and drop here": {"missing": "drop"},
    "on_bad_chunk is raise there and skip here": {"on_bad_chunk": "skip"},
    "rng is": {"seed": 1},
    "start is not given there and MixtureParameters here": {
        "start": MIXTURE.initialize(_block(), np.random.default_rng(0))
    },
}


@pytest.mark.parametrize("text", OTHER)
def test_a_checkpoint_of_another_fit_is_refused(text, tmp_path):
    run(tmp_path / "ck", 2)
    seen = Counting()
    with pytest.raises(ArchiveError, match=f"of another fit: .*{text}.*path where nothing is"):
        run(tmp_path / "ck", **({"monitor": seen} | OTHER[text]))
    assert not seen.passes
    run(tmp_path / "ck", 3)  # it is as it was


def test_other_values_in_memory_are_another_fit(tmp_path):
    run(tmp_path / "ck", 2, source=NumpySource(ROWS))
    with pytest.raises(ArchiveError, match="the rows' values is"):
        run(tmp_path / "ck", source=NumpySource(ROWS + 1))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (1, r"newer dask_em, in version 4.1.*up to 3.1; upgrade"),
        (-1, r"older dask_em, in version 2.1.*from 3.1 only; go on with that"),
    ],
)
def test_a_checkpoint_of_another_version(change, told, tmp_path, monkeypatch):
    with monkeypatch.context() as other:
        version = [module.MARKS.version[0] + change, *module.MARKS.version[1:]]
        other.setattr(module, "MARKS", replace(module.MARKS, version=version))
        run(tmp_path / "ck", 2)
    with pytest.raises(ArchiveError, match=told):
        run(tmp_path / "ck")


@pytest.mark.parametrize("thing", ["file", "model", "folder", "mark"])
def test_a_place_of_something_else(thing, tmp_path):
    place = tmp_path / "ck"
    if thing == "file":
        place.write_text("mine")
    elif thing == "model":
        archive.save(place, MIXTURE)
    else:
        place.mkdir()
        (place / ("checkpoint.json" if thing == "mark" else "notes.txt")).write_text("{}")
    before = sorted(place.rglob("*"))
    seen = Counting()
    with pytest.raises(ArchiveError, match=r"not a checkpoint.*path where nothing is"):
        run(place, monitor=seen)
    assert not seen.passes
    assert sorted(place.rglob("*")) == before


def test_an_empty_folder_will_do(tmp_path):
    assert told(run(tmp_path, 2)) == told(run(n=2))


def denied(*_, **__):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("begun", [False, True])
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_pass(
    begun, tmp_path, monkeypatch
):
    if begun:
        run(tmp_path / "ck", 2)
    # whoever runs the tests may write everywhere
    monkeypatch.setattr("dask_em.remote.files.mkstemp", denied)
    seen = Counting()
    with pytest.raises(ArchiveError, match="cannot be used as a checkpoint .PermissionError"):
        run(tmp_path / "ck", monitor=seen)
    assert not seen.passes


def test_bytes_that_were_lost_are_not_made_up_for(tmp_path):
    run(tmp_path / "ck", 2)
    for path in (tmp_path / "ck" / "start-0-pass-000002").rglob("c/*"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArchiveError, match="start-0-pass-000002"):
        run(tmp_path / "ck")


def test_what_a_killed_process_left_is_removed(tmp_path):
    run(tmp_path / "ck", 2)
    (tmp_path / "ck" / ".start-0-pass-000003.abc.tmp" / "new").mkdir(parents=True)
    (tmp_path / "ck" / ".checkpoint.abc.tmp").touch()
    (tmp_path / "ck" / ".mine").touch()
    run(tmp_path / "ck", 2)
    hidden = {name for name in os.listdir(tmp_path / "ck") if name.startswith(".")}
    assert hidden == {".mine"}


def test_the_mark_can_be_read_by_people(tmp_path):
    run(tmp_path / "ck", 1)
    text = (tmp_path / "ck" / "checkpoint.json").read_text()
    assert json.loads(text)["specification"]["model.n_components"] == 3
    assert str(tmp_path) not in text


def test_packed_records_come_back_bit_by_bit():
    parameters = run(n=1).parameters
    assert Packed.of(parameters).unpacked().equals(parameters)
    assert isinstance(Packed.of(MIXTURE).unpacked(), Record)
    twice = Packed.of(Known(parameters, parameters))
    assert len(twice.data) == len(Packed.of(parameters).data)
    assert twice.unpacked().equals(Known(parameters, parameters))


@pytest.fixture
def store(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=ROWS, chunks=(300, 3), compressors=None)
    return tmp_path / "x.zarr"


def test_a_copy_of_a_store_elsewhere_is_the_same(store, tmp_path):
    expected = told(run(source=open_source(store)))
    run(tmp_path / "ck", 2, source=open_source(store))
    copy = shutil.copytree(store, tmp_path / "elsewhere" / "y.zarr", copy_function=shutil.copyfile)
    shutil.rmtree(store)
    assert told(run(tmp_path / "ck", source=open_source(copy))) == expected


def test_attributes_are_no_part_of_the_rows(store, tmp_path):
    run(tmp_path / "ck", 2, source=open_source(store))
    before = open_source(store).fingerprint()
    zarr.open_array(store).attrs["history"] = "looked at"
    assert open_source(store).fingerprint() == before  # also as it is written, not only as it is
    run(tmp_path / "ck", source=open_source(store))


def test_a_store_of_other_values_is_another_fit(store, tmp_path):
    run(tmp_path / "ck", 2, source=open_source(store))
    zarr.create_array(store, data=ROWS + 1, chunks=(300, 3), compressors=None, overwrite=True)
    with pytest.raises(ArchiveError, match="the rows' bytes is"):
        run(tmp_path / "ck", source=open_source(store))


class Writing(Monitor):
    """Somebody writes to the store in the third pass."""

    def __init__(self, write):
        self.write, self.passes = write, 0

    def begin(self, kind, iteration, n_tasks):
        self.passes += 1
        if self.passes == 3:
            self.write()


def append(store):
    zarr.open_array(store).append(ROWS[:300])


def one_value(store):
    array = zarr.open_array(store)
    array[1234, 0] = 7.0


def vanish(store):
    (store / "zarr.json").unlink()


CHANGES = {"rows|stored form": append, "written to": one_value, "not there any more": vanish}


@pytest.mark.parametrize("text", CHANGES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_store_that_changes_under_the_fit_is_refused(text, algorithm, store, tmp_path):
    writing = Writing(lambda: CHANGES[text](store))
    with pytest.raises(SourceError, match=text):
        run(tmp_path / "ck", source=open_source(store), monitor=writing, algorithm=algorithm)
    assert writing.passes == 3
    # the pass is not kept
    assert (tmp_path / "ck" / "start-0-pass-000001").exists()


@pytest.mark.parametrize("case", [*NUMPY, *DASK, *ZARR], ids=str)
def test_every_source_tells_itself_from_others(case, tmp_path):
    source = case.make(tmp_path)
    reads = None if case.probe is None else case.probe()
    one = source.fingerprint()
    assert one == source.fingerprint()
    assert dict(one.facts) == json.loads(json.dumps(dict(one.facts)))
    assert reads is None or case.probe() == reads
    (tmp_path / "again").mkdir()
    assert case.make(tmp_path / "again").fingerprint().facts == one.facts


def test_remote_stores_are_watched_too(tmp_path):
    url = f"memory://{tmp_path.name}/x.zarr"
    zarr.create_array(url, data=ROWS, chunks=(300, 3))
    source = open_source(url)
    before = source.fingerprint()
    assert source.fingerprint() == before
    zarr.open_array(url)[0, 0] = 7.0
    assert source.fingerprint().facts["bytes"] != before.facts["bytes"]


@pytest.mark.filterwarnings("ignore:Best performing initialization")
def test_the_estimator(store, tmp_path):
    def mixture(n):
        return GaussianMixture(3, random_state=0, tol=0, max_iter=n)

    expected = mixture(5).fit(store)
    mixture(2).fit(store, checkpoint=tmp_path / "ck")
    found = mixture(5).fit(store, checkpoint=tmp_path / "ck")
    chance = GaussianMixture(3, tol=0, max_iter=2).fit(store, checkpoint=tmp_path / "ck2")
    again = GaussianMixture(3, tol=0, max_iter=2).fit(store, checkpoint=tmp_path / "ck2")
    assert found.lower_bounds_ == expected.lower_bounds_
    np.testing.assert_array_equal(found.means_, expected.means_)
    np.testing.assert_array_equal(chance.means_, again.means_)


def test_nothing_is_kept_without_a_checkpoint(monkeypatch):
    monkeypatch.setattr(archive, "save", denied)
    run(n=2)
