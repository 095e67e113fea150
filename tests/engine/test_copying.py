"""Copies of checkpoints: they can be gone on from, and nothing of anybody's is lost."""

from __future__ import annotations

import uuid
import warnings

import fsspec
import numpy as np
import pytest

from dask_em import ArchiveError, Gaussian, Mixture, Stopping, archive
from dask_em.engine import copying
from dask_em.engine.copying import copy_checkpoint
from dask_em.engine.fit import fit
from dask_em.engine.folder import Folder
from dask_em.models.seeding import KMeans
from dask_em.place import parse_place
from tests.engine.sources import MadeSource, clusters

SOURCE = MadeSource(clusters(600), 100)


def fitted(place, passes, size=3):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(
            Mixture(Gaussian(), size, KMeans()),
            SOURCE,
            rng=np.random.default_rng(0),
            checkpoint=place,
            algorithm="em",
            stopping=Stopping(0, passes),
        )


@pytest.fixture
def folder(tmp_path):
    place = parse_place(tmp_path / "from")
    fitted(place, 3)
    return place


@pytest.fixture
def to(tmp_path):
    return parse_place(tmp_path / "to")


def told(fit):
    return [record.objective for record in fit.history]


def passes(place):
    return sorted(name for name in place.files().names() if name.startswith("start"))


@pytest.fixture
def memory():
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


@pytest.mark.parametrize("where", ["memory", "bucket"])
def test_it_is_copied_to_any_file_system_and_back(where, request, folder, tmp_path):
    found = request.getfixturevalue(where)
    url, options = (found, None) if where == "memory" else (found.url("em"), found.options)
    far, back = parse_place(f"{url}/to", options), parse_place(tmp_path / "back")
    for _ in range(2):
        assert copy_checkpoint(folder, far)
        assert copy_checkpoint(far, back)
    assert sorted(back.files().names()) == sorted(folder.files().names())
    assert told(fitted(back, 5)) == told(fitted(folder, 5))


def test_where_none_is(to, tmp_path):
    assert not copy_checkpoint(parse_place(tmp_path / "nowhere"), to)
    assert not to.exists()


def test_only_what_is_older_is_removed(folder, to):
    """Not what others keep there, nor what a folder holds that looks empty."""
    fitted(to, 2)
    for name in (".ssh", ".start-0-pass-000009.x.tmp", "pass-by"):
        (to.path / name).mkdir()
    assert copy_checkpoint(folder, to)
    assert passes(to) == ["start-0-pass-000003"]
    assert {".ssh", ".start-0-pass-000009.x.tmp", "pass-by"} < set(to.files().names())


def test_whoever_is_ahead_keeps_all(folder, to):
    fitted(to, 4)
    assert copy_checkpoint(folder, to)
    assert passes(to) == ["start-0-pass-000003", "start-0-pass-000004"]


def test_that_of_another_fit_is_not_touched(folder, to):
    fitted(to, 2, size=2)
    before = dict(to.files().all_files())
    with pytest.raises(ArchiveError, match="to is that of another fit: "):
        copy_checkpoint(folder, to)
    assert dict(to.files().all_files()) == before


def test_what_a_link_leads_to_is_not_copied(folder, to, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hidden")
    (folder.path / "keys").symlink_to(secret)
    (folder.path / "start-0-pass-000009").symlink_to(secret)
    with pytest.raises(ArchiveError, match="secret cannot be read as a model"):
        copy_checkpoint(folder, to)
    (folder.path / "start-0-pass-000009").unlink()
    assert copy_checkpoint(folder, to)
    assert not list(to.path.rglob("key*"))


def test_a_part_of_what_nobody_needs_is_left_out(folder, to):
    """A process was killed while it removed a record, where nothing is renamed."""
    (folder.path / "start-0-pass-000002" / "c").mkdir(parents=True)
    assert copy_checkpoint(folder, to)
    assert passes(to) == ["start-0-pass-000003"]


def test_what_somebody_else_removes_is_there_or_not(folder, to, monkeypatch):
    """Seen where a driver that was thought dead went on for a while, and its pass was over."""
    seen = []

    def removed(self, name=""):
        if self.url == str(folder.path):
            seen.append(passes(folder))
            copy_checkpoint(folder, to)

    monkeypatch.setattr("dask_em.remote.files.Files.remove", removed)
    fitted(folder, 5)
    assert seen == [["start-0-pass-000004"], ["start-0-pass-000005"]]
    assert passes(to)[-1] == "start-0-pass-000005"


def test_what_is_there_in_part_for_a_moment_is_tried_again(folder, to, monkeypatch):
    copy, calls = copying._copy, iter(range(99))

    def spoiled(source, target, name):
        if next(calls) == 1:
            raise ArchiveError("a part is gone")
        copy(source, target, name)

    monkeypatch.setattr(copying, "_copy", spoiled)
    monkeypatch.setattr(copying, "PAUSE", 0.01)
    assert copy_checkpoint(folder, to)
    assert passes(to) == ["start-0-pass-000003"]


@pytest.mark.parametrize("last", range(4))
def test_killed_before_any_change_it_can_be_gone_on_with(last, folder, to, tmp_path, monkeypatch):
    fitted(to, 2)
    changes, expected = iter(range(99)), told(fitted(parse_place(tmp_path / "alone"), 5))

    def stopping(call):
        def stopped(*arguments, **more):
            if next(changes) == last:
                raise KeyboardInterrupt
            return call(*arguments, **more)

        return stopped

    with monkeypatch.context() as killed:
        killed.setattr(Folder, "remove", stopping(Folder.remove))
        killed.setattr(archive, "save", stopping(archive.save))
        killed.setattr(type(copying.MARKS), "write", stopping(type(copying.MARKS).write))
        try:
            copy_checkpoint(folder, to)
        except KeyboardInterrupt:
            assert last < 3
        else:
            assert last >= 3, "the mark, a pass, and one that is older"
    assert told(fitted(to, 5)) == expected


@pytest.mark.parametrize("often", [1, 99])
def test_what_vanishes_while_it_is_copied_is_not_passed_over(often, folder, to, monkeypatch):
    calls, copy = iter(range(99)), copying._copy

    def overtaken(source, target, name):
        if name.startswith("start") and (number := next(calls)) < often:
            fitted(folder, 4 + number)
        copy(source, target, name)

    monkeypatch.setattr(copying, "_copy", overtaken)
    if often == 1:
        assert copy_checkpoint(folder, to)
        assert passes(to) == passes(folder) == ["start-0-pass-000004"]
    else:
        with pytest.raises(ArchiveError, match="changed in each of 3 tries to copy it to"):
            copy_checkpoint(folder, to)
