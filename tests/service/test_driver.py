"""A driver: what it does where its time, its checkpoint or its luck is over."""

from __future__ import annotations

from dask_em.engine.monitor import PassRecord
from dask_em.service.driver import _Report


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
