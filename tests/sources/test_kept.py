"""Drafts that outlive the call that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dask_em.engine.ledger import Ledger, Stage
from dask_em.engine.stream import Tally
from dask_em.errors import SourceError
from dask_em.estimators.resuming import abandon
from dask_em.place import RemotePlace, Scratch, parse_place
from dask_em.sources import kept
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import stamps_of
from dask_em.sources.kept import owner_of
from dask_em.sources.zarr_output import Planned, create_outputs
from tests.sources.test_zarr_output import ROWS, VALUES, Described, first, refuse

REGIONS = [(slice(start, min(start + 3, 7)), slice(0, 5)) for start in (0, 3, 6)]


def ledger_at(folder: Path, of: str = "these") -> Ledger:
    return Ledger.open(folder / "ck", {"answers": of})


@contextmanager
def created(urls: list[Any], ledger: Ledger, **options: Any) -> Iterator[list[Any]]:
    planned = [Planned(url, "labels", "i2") for url in urls]
    with create_outputs(planned, Described(ROWS), ledger=ledger, **options) as outputs:
        yield list(outputs.arrays)


def write(
    urls: list[Any], ledger: Ledger, parts: Any = REGIONS, values: Any = VALUES, **options: Any
) -> None:
    """Write some regions, as tasks do; what others have written is there already."""
    with created(urls, ledger, **options) as outputs:
        if not ledger.is_written:
            ledger.begin(1)
            for region in parts:
                for output in outputs:
                    output.write(region, values[region])
            ledger.written(Tally(7))


def interrupted(
    urls: list[Any], ledger: Ledger, work: Callable[[list[Any]], object], **options: Any
) -> None:
    def call() -> None:
        with created(urls, ledger, **options) as outputs:
            work(outputs)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call()


def broken(urls: list[Any], ledger: Ledger, parts: Any, **options: Any) -> None:
    """Write some regions, and be interrupted."""

    def some(outputs: list[Any]) -> None:
        ledger.begin(1)
        for region in parts:
            for output in outputs:
                output.write(region, VALUES[region])

    interrupted(urls, ledger, some, **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check(*urls: Any) -> None:
    import zarr

    for url in urls:
        group: Any = zarr.open_group(url, mode="r")
        np.testing.assert_array_equal(group["labels"][:], VALUES)
        assert group.attrs["dask_em"] == "output"


@pytest.fixture(params=["local", "remote"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    """Places of two outputs."""
    if request.param == "local":
        return [tmp_path / "one.zarr", tmp_path / "other.zarr"]
    return [f"memory:/{tmp_path}/{name}.zarr" for name in ("one", "other")]


def test_the_same_call_goes_on(urls: list[Any], tmp_path: Path) -> None:
    broken(urls, ledger_at(tmp_path), REGIONS[:1])
    broken(urls, ledger_at(tmp_path), REGIONS[1:2])
    assert None in stamps_of(map(parse_place, urls)).values()
    write(urls, ledger_at(tmp_path), REGIONS[2:])
    check(*urls)
    assert ledger_at(tmp_path).stage is Stage.WHOLE
    assert not list(tmp_path.glob(".*"))
    assert all(owner_of(parse_place(url)) is None for url in urls)


def test_what_is_replaced_stays_until_then(tmp_path: Path) -> None:
    url = tmp_path / "one.zarr"
    write([url], ledger_at(tmp_path, "old"))
    ledger = Ledger.open(tmp_path / "new", {"answers": "new"})
    with pytest.raises(SourceError, match="pass overwrite=True"):
        write([url], ledger)
    assert not (tmp_path / "new").exists()  # refused before anything is made
    broken([url], ledger, REGIONS[:1], overwrite=True)
    check(url)
    write([url], Ledger.open(tmp_path / "new", {"answers": "new"}), REGIONS[1:], overwrite=True)
    check(url)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_draft_of_another_checkpoint_is_not_touched(tmp_path: Path, overwrite: bool) -> None:
    url = f"memory:/{tmp_path}/one.zarr"
    broken([url], ledger_at(tmp_path), REGIONS[:2])
    message = "one.zarr holds an unfinished output that a checkpoint keeps.*remove what is there"
    with pytest.raises(SourceError, match=message):
        check_outputs([url], overwrite)
    other = Ledger.open(tmp_path / "other", {"answers": "others"})
    with pytest.raises(SourceError, match=message):
        write([url], other, overwrite=overwrite)
    write([url], ledger_at(tmp_path), REGIONS[2:])
    check(url)


def test_local_drafts_of_two_checkpoints_lie_side_by_side(tmp_path: Path) -> None:
    url = tmp_path / "one.zarr"
    broken([url], ledger_at(tmp_path), REGIONS[:1])
    other = Ledger.open(tmp_path / "other", {"answers": "others"})
    write([url], other)
    assert len(list(tmp_path.glob(".one.zarr.*.draft"))) == 1
    with pytest.raises(SourceError, match="pass overwrite=True"):
        write([url], ledger_at(tmp_path), REGIONS[1:])
    write([url], ledger_at(tmp_path), REGIONS[1:], overwrite=True)
    check(url)


def test_a_draft_that_is_gone_is_begun_anew(urls: list[Any], tmp_path: Path) -> None:
    broken(urls, ledger_at(tmp_path), REGIONS)
    ledger = ledger_at(tmp_path)
    assert ledger.stage is Stage.BEGUN
    lost(urls[1], tmp_path)
    stages = list[Stage]()
    interrupted(urls, ledger, lambda _: stages.append(ledger.stage))
    assert stages == [Stage.NEW]  # all that tasks have done is forgotten
    write(urls, ledger_at(tmp_path))
    check(*urls)


def lost(url: Any, folder: Path) -> None:
    import shutil

    if isinstance(url, Path):
        for path in folder.glob(f".{url.name}.*.draft"):
            shutil.rmtree(path)
    else:
        parse_place(url).files().remove()


def test_answers_that_are_gone_after_all_were_written(urls: list[Any], tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    interrupted(urls, ledger, lambda _: (ledger.begin(1), ledger.written(Tally(7))))
    lost(urls[0], tmp_path)
    message = "all answers were written, but those for .*one.zarr are not there any more; remove"
    with pytest.raises(SourceError, match=message):
        write(urls, ledger_at(tmp_path))


OF_DRAFTS = ["begin", "begun", "prepare", "put", "after put", "clean"]
STEPS = [(step, nth) for step in OF_DRAFTS for nth in (0, 1)] + [("finish", 0), ("after finish", 0)]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("step", "nth"), STEPS)
def test_broken_off_at_each_step(
    step: str, nth: int, overwrite: bool, urls: list[Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As by a kill: nothing is taken back."""
    killed_at(step, nth, overwrite, urls, tmp_path, monkeypatch)
    ledger = ledger_at(tmp_path)
    if ledger.stage is not Stage.WHOLE:
        write(urls, ledger, overwrite=overwrite)
    assert ledger_at(tmp_path).stage is Stage.WHOLE
    check(*urls)
    kept.remove_left(map(parse_place, urls), ledger)
    check(*urls)
    assert not list(tmp_path.glob(".*"))
    assert all(owner_of(parse_place(url)) is None for url in urls)


def killed_at(
    step: str, nth: int, overwrite: bool, urls: list[Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if overwrite:
        write(urls, Ledger.open(tmp_path / "old", {"answers": "old"}), values=-VALUES)
    drafts, name, calls = (kept._LocalDraft, kept._Prefix), step.removeprefix("after "), count()
    with monkeypatch.context() as killed:
        for kind in (Ledger,) if name == "finish" else drafts:
            call = stopping(getattr(kind, name), calls, nth, step.startswith("after"))
            killed.setattr(kind, name, call)
        for kind in drafts:
            killed.setattr(kind, "take_back", lambda _: True)
        with pytest.raises(KeyboardInterrupt):
            write(urls, ledger_at(tmp_path), overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("step", "nth"), STEPS)
def test_what_nobody_goes_on_with_is_removed(
    step: str, nth: int, overwrite: bool, urls: list[Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is whole stays, new or old; nothing else does."""
    killed_at(step, nth, overwrite, urls, tmp_path, monkeypatch)
    places = list(map(parse_place, urls))
    for _ in range(2):
        abandon(parse_place(tmp_path / "ck"), places)
    assert not list(tmp_path.glob(".*"))
    for place in places:
        assert owner_of(place) is None
        if place.exists():
            found: Any = zarr.open_group(place.store(), mode="r")
            assert found.attrs["dask_em"] == "output"
            assert np.abs(found["labels"][:]).tolist() == VALUES.tolist()
        else:
            assert not overwrite or isinstance(place, RemotePlace)
    ledger = ledger_at(tmp_path)
    if ledger.stage is Stage.WHOLE:
        ledger = Ledger.open(tmp_path / "anew", {"answers": "anew"})
    write(urls, ledger, overwrite=True)
    check(*urls)


def test_what_is_removed_when_a_process_is_killed_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> None:
        next(path.glob("**/zarr.json")).unlink()
        raise KeyboardInterrupt

    urls, places = [tmp_path / "one.zarr"], [parse_place(tmp_path / "one.zarr")]
    broken(urls, ledger_at(tmp_path), REGIONS[:1])
    with monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            abandon(parse_place(tmp_path / "ck"), places)
    assert list(tmp_path.glob(".*"))
    abandon(parse_place(tmp_path / "ck"), places)
    assert not list(tmp_path.glob(".*"))


def test_what_was_moved_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two renames of a replacement."""

    def half(scratch: Any) -> None:
        scratch.path.rename(scratch.old)
        raise KeyboardInterrupt

    url = tmp_path / "one.zarr"
    write([url], Ledger.open(tmp_path / "old", {"answers": "old"}))
    with monkeypatch.context() as killed:
        killed.setattr(Scratch, "_swap", half)
        killed.setattr(kept._LocalDraft, "take_back", lambda _: True)
        with pytest.raises(KeyboardInterrupt):
            write([url], ledger_at(tmp_path), values=-VALUES, overwrite=True)
    assert not url.exists()
    kept.abandon([parse_place(url)], ledger_at(tmp_path))
    check(url)
    assert not list(tmp_path.glob(".*"))


def stopping(call: Any, calls: Iterator[int], at: int, after: bool) -> Any:
    def instead(*arguments: Any) -> Any:
        now = next(calls) == at
        if now and not after:
            raise KeyboardInterrupt
        found = call(*arguments)
        if now:
            raise KeyboardInterrupt
        return found

    return instead


def test_outputs_that_cannot_be_placed_are_taken_back_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, remote, other = tmp_path / "1.zarr", f"memory:/{tmp_path}/2.zarr", tmp_path / "3.zarr"
    message = (
        r"3.zarr cannot be written .*scripted\); free some space or check permissions; what is "
        r"written so far is kept, and the same call with the same checkpoint goes on from it, nor "
        "is another output made"
    )
    with monkeypatch.context() as scripted:
        refuse(scripted, other)
        with pytest.raises(SourceError, match=message):
            write([one, remote, other], ledger_at(tmp_path))
    assert not one.exists()
    assert stamps_of([parse_place(remote)]) == {remote: None}
    write([one, remote, other], ledger_at(tmp_path), [])
    check(one, remote, other)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["prepare", "put"])
def test_another_process_puts_the_same_outputs(
    name: str, overwrite: bool, urls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that was thought dead: what it put is not taken back."""
    if overwrite:
        write(urls, Ledger.open(tmp_path / "old", {"answers": "old"}), values=-VALUES)
    others = [None]

    def after_another(call: Any) -> Any:
        def instead(draft: Any) -> None:
            if others:
                others.pop()
                with monkeypatch.context() as slow:  # it has not removed its draft yet
                    slow.setattr(kept._LocalDraft, "clean", lambda _: None)
                    write(urls, ledger_at(tmp_path), overwrite=overwrite)
            call(draft)

        return instead

    for kind in (kept._LocalDraft, kept._Prefix):
        monkeypatch.setattr(kind, name, after_another(getattr(kind, name)))
    write(urls, ledger_at(tmp_path), overwrite=overwrite)
    assert not others
    check(*urls)
    assert not list(tmp_path.glob(".*"))


def test_an_output_that_was_put_and_taken_away_is_missed(tmp_path: Path) -> None:
    url, ledger = tmp_path / "one.zarr", ledger_at(tmp_path)
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(Ledger, "finish", lambda *_: stopped())
        killed.setattr(kept._LocalDraft, "take_back", lambda _: True)
        with pytest.raises(KeyboardInterrupt):
            write([url], ledger)
    url.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=r"one\.zarr are not there any more"):
        write([url], ledger_at(tmp_path))


def stopped() -> None:
    raise KeyboardInterrupt


def test_a_draft_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a loss of power could take what tasks of the next call write into."""
    flushed: list[Path] = []

    def flush(path: Path) -> None:
        if not list(tmp_path.glob(".*.draft/begun")):
            flushed.append(path)

    monkeypatch.setattr("dask_em.place.flush_entry", flush)
    broken([tmp_path / "one.zarr"], ledger_at(tmp_path), [])
    (new,) = tmp_path.glob(".*.draft/new")
    assert {path for path in new.rglob("*") if path.is_file()} <= set(flushed)
    assert new / "zarr.json" in flushed


def test_a_full_disk_says_that_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "one.zarr"

    def on_a_full_disk(outputs: list[Any]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("zarr.storage._local._put", full)
            outputs[0].write(REGIONS[0], VALUES[REGIONS[0]])

    with pytest.raises(SourceError, match="No space left.*is kept, and the same call"):
        interrupted([url], ledger_at(tmp_path), on_a_full_disk)
    write([url], ledger_at(tmp_path))
    check(url)


def full(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


def test_what_a_killed_worker_left_in_a_store_is_removed(tmp_path: Path) -> None:
    url = tmp_path / "one.zarr"
    broken([url], ledger_at(tmp_path), REGIONS[:1])
    (draft,) = tmp_path.glob(".one.zarr.*.draft/new")
    (draft / "labels" / "c" / f"0.{'a' * 32}.partial").write_bytes(b"half")
    write([url], ledger_at(tmp_path), REGIONS[1:])
    assert not list(url.rglob("*.partial"))
    assert first(url) == 0
