"""A driver: what it does where its time, its checkpoint or its luck is over."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from dask_em.engine.monitor import PassRecord
from dask_em.errors import ArchiveError, ChunkError, ClusterError, InputError, SourceError
from dask_em.remote.patience import patiently
from dask_em.service import driver
from dask_em.service.driver import UnwantedError, _may_pass, _Post, _Report
from tests.service.office import spec


class Post:
    """Tells nobody."""

    def __init__(self, counts):
        self.counts, self.told = counts, []

    def tell(self, what, **told):
        self.told.append((what, told["told"]["number"]))
        return {"counts": told["told"]["number"] in self.counts}


def end_pass(report, number):
    report.end(PassRecord("em", number, -1.0, None, 2.0, 1.0, 0.5, 100, 0, 800, 0, 1, None))


def test_old_checkpoints_are_kept_until_the_drivers_own_counts():
    post = Post(counts={4, 5})
    report, forgotten = _Report(post, 1), []
    report.own = lambda: forgotten.append(post.told[-1])
    for number in (1, 2, 3, 4, 5):
        end_pass(report, number)
    # the first is known, the next two are told again: they count in the checkpoint before
    assert post.told == [("commit", number) for number in (2, 3, 4, 5)]
    assert forgotten == [("commit", 4)]


class Stale(_Post):
    """Of a driver that was replaced while its worker stood still, and has not heard of it."""

    id, epoch, run = "a1", 1, 7

    def __init__(self):
        self.asked = []

    def tell(self, what, **_):
        self.asked.append(what)
        raise UnwantedError

    def check(self):
        pass

    @contextmanager
    def beating(self, *_):
        yield


def test_one_that_was_replaced_leaves_no_checkpoint_at_anybodys_place(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.get_client", lambda **_: SimpleNamespace(nthreads=dict))
    monkeypatch.setattr(driver, "perform", lambda *_, **__: None)
    monkeypatch.setattr(driver.checkpoints, "leave", lambda *_: pytest.fail("it is not its own"))
    order = {"spec": spec(), "store": str(tmp_path), "options": {}, "checkpoint": None}
    post = Stale()
    with pytest.raises(UnwantedError):
        driver._work(post, {**order, "passes": 0, "heartbeat": 1.0})
    assert post.asked == ["heard"]


def caused(error, cause):
    error.__cause__ = cause
    return error


def given_up(error, monkeypatch):
    """What becomes of an error of an object store once it has been met often enough."""
    monkeypatch.setattr("dask_em.remote.patience.TRIES", 1)
    with pytest.raises(SourceError) as found:
        patiently(lambda: (_ for _ in ()).throw(error), "https://host/x?sig=hidden")
    return found.value


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ClusterError("all workers are gone"), True),
        (MemoryError(), True),
        (OSError(28, "No space left on device"), True),
        (caused(ArchiveError("cannot be written"), OSError(28, "No space left")), True),
        (caused(SourceError("cannot be reached"), ConnectionError("refused")), True),
        (caused(SourceError("is not there"), FileNotFoundError("rows.zarr")), False),
        (caused(SourceError("needs a package"), ImportError("s3fs")), False),
        (caused(SourceError("cannot be opened"), ValueError("no such protocol")), False),
        (ArchiveError("it is the checkpoint of another fit"), False),
        (ChunkError("chunk 3 cannot be decoded"), False),
        (InputError("n_components is 0"), False),
        (KeyError("x"), False),
    ],
    ids=repr,
)
def test_whether_another_driver_may_have_more_luck(error, passes):
    assert _may_pass(error) is passes


def test_a_store_that_does_not_answer_may_later_though_its_url_holds_a_secret(monkeypatch):
    error = given_up(TimeoutError("https://host/x?sig=hidden took too long"), monkeypatch)
    assert "hidden" not in f"{error} {error.__cause__!r}"
    assert _may_pass(error)
