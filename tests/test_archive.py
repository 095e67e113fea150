"""Archives: the same bits back, whole or not there, and errors that say what to do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dask_em import archive, archived_arrays, place
from dask_em.core.records import Array, Record
from dask_em.errors import ArchiveError

GOLDEN = Path(__file__).parent / "golden" / "archive" / "v1.zarr"
DTYPES = [
    np.dtype(name) for name in ("b1", "i1", "u2", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16")
]


@dataclass(frozen=True)
class Leaf(Record):
    values: Array
    number: float = 0.0
    count: int = 0
    label: str | None = None


@dataclass(frozen=True)
class Branch(Record):
    leaf: Leaf
    more: tuple[Any, ...] = ()
    flags: Array = field(default_factory=lambda: np.array(True))
    scratch: Any = field(default=None, metadata={"transient": True})


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
leaves = st.builds(
    Leaf,
    arrays,
    st.floats(),
    st.integers(-(2**63), 2**63),
    st.none() | st.text(st.characters(exclude_categories=["Cs"])),
)
records = st.builds(
    Branch, leaves, st.lists(leaves | arrays | st.floats(), max_size=3).map(tuple), arrays
)
facts = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.booleans() | st.integers() | st.lists(st.floats()) | st.text("abc"),
    max_size=4,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values have the same types and bytes; stricter than `Record.equals`."""
    if isinstance(left, Record):
        return type(left) is type(right) and all(
            same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left)
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        kind = (left.dtype, left.shape) == (right.dtype, right.shape)
        return kind and left.tobytes() == right.tobytes()
    return type(left) is type(right) and repr(left) == repr(right)


@pytest.fixture
def model() -> Branch:
    return Branch(
        Leaf(np.array([[1.0, -0.0, np.nan], [np.inf, 5e-324, 0.1]])), (1, Leaf(np.zeros(0)))
    )


@pytest.fixture
def other() -> Branch:
    return Branch(Leaf(np.arange(3.0)), flags=np.array([[False]]))


@pytest.fixture
def memory() -> Iterator[str]:
    url = f"memory://{uuid4().hex}/deep/model.zarr"
    yield url
    files, path = fsspec.url_to_fs(url)
    if files.exists(path):
        files.rm(path, recursive=True)


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return (
        str(tmp_path / "model.zarr")
        if request.param == "local"
        else request.getfixturevalue("memory")
    )


def edit(path: Path, **changes: Any) -> None:
    """Change the manifest of a saved model."""
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["dask_em"].update(changes)
    (path / "zarr.json").write_text(json.dumps(document))


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let writes of arrays fail after some as they do on a full disk."""
    write, left = zarr.Array.__setitem__, iter(range(after))

    def full(*args: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*args)

    monkeypatch.setattr(zarr.Array, "__setitem__", full)


class TestRoundTrip:
    @pytest.mark.parametrize("odd", [{"float": "nan"}, {"float": [1.5]}, {"mapping": {"float": 2}}])
    def test_facts_that_look_like_marks_of_the_archive(self, tmp_path: Path, odd: Any) -> None:
        archive.save(tmp_path / "m", Leaf(np.ones(2)), {"odd": odd})
        assert archive.load(tmp_path / "m").facts == {"odd": odd}

    @given(record=records, facts=facts, where=st.sampled_from(["local", "memory"]))
    def test_gives_back_the_same_bits(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        record: Branch,
        facts: dict[str, Any],
        where: str,
    ) -> None:
        url = f"{uuid4().hex}.zarr"
        url = f"memory://{url}" if where == "memory" else str(tmp_path_factory.getbasetemp() / url)
        archive.save(url, record, facts)
        back = archive.load(url)
        assert same(back.record, record)
        assert same(back.facts, facts)

    def test_leaves_transient_fields_out(self, url: str) -> None:
        archive.save(url, Branch(Leaf(np.ones(1)), scratch=object()))
        record = archive.load(url).record
        assert isinstance(record, Branch)
        assert record.scratch is None

    def test_keeps_values_of_any_layout(self, url: str) -> None:
        values = np.arange(12.0).reshape(3, 4)
        layouts = (values.T, values[::2, ::-1], np.asfortranarray(values), values.astype(">f8"))
        archive.save(url, Branch(Leaf(values), layouts))
        record = archive.load(url).record
        assert isinstance(record, Branch)
        for layout, back in zip(layouts, record.more, strict=True):
            np.testing.assert_array_equal(back, layout)

    def test_cuts_large_arrays_into_chunks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archived_arrays, "CHUNK_BYTES", 100)
        leaf = Leaf(np.arange(70.0).reshape(35, 2))
        archive.save(tmp_path / "m", leaf)
        stored = zarr.open_array(tmp_path / "m" / "values", mode="r")
        assert stored.chunks == (6, 2)
        assert same(archive.load(tmp_path / "m").record, leaf)

    def test_says_who_wrote_it_and_when(self, url: str, model: Branch) -> None:
        archive.save(url, model, {"seconds": np.float32(1.5), "names": ("a", "b")})
        back, summary = archive.load(url), archive.inspect(url)
        assert back.version == summary.version == metadata.version("dask_em")
        assert back.created == summary.created
        assert back.created.utcoffset() is not None
        assert back.facts == summary.facts == {"seconds": 1.5, "names": ["a", "b"]}
        assert (summary.kind, summary.format_version) == ("Branch", 1)

    def test_takes_paths_and_file_urls(self, tmp_path: Path, model: Branch) -> None:
        archive.save(f"file://{tmp_path}/deep/er/m.zarr/", model)
        assert same(archive.load(tmp_path / "deep" / "er" / "m.zarr").record, model)

    def test_any_zarr_reader_can_open_it(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m.zarr", model)
        group = zarr.open_group(tmp_path / "m.zarr", mode="r")
        np.testing.assert_array_equal(group["leaf/values"][...], model.leaf.values)


class TestGolden:
    """Written by 0.1.0 in format 1; never to be written again."""

    def test_stays_readable(self) -> None:
        back = archive.load(GOLDEN)
        bits = np.array([0x3FF0000000000001, 0x8000000000000000, 0x7FF8000000000001], "u8")
        expected = Branch(
            Leaf(bits.view("f8"), float("-inf"), 2**60, "snöw"),
            (np.float32([[1.5]]), Leaf(np.zeros((0, 2), "i4"), 0.1), 7, "x"),
            np.array(False),
        )
        assert same(back.record, expected)
        assert same(back.facts, {"history": [float("nan"), -1.25], "source": {"rows": 1000}})
        assert back.version == "0.1.0"


class TestPlaceTaken:
    def test_is_an_error(self, url: str, model: Branch, other: Branch) -> None:
        archive.save(url, model)
        with pytest.raises(ArchiveError, match=r"exists; pass overwrite=True \(--overwrite\)"):
            archive.save(url, other)
        assert same(archive.load(url).record, model)

    def test_is_overwritten_on_request(self, url: str, model: Branch, other: Branch) -> None:
        archive.save(url, model)
        for record in (other, model, other):
            archive.save(url, record, overwrite=True)
            assert same(archive.load(url).record, record)

    def test_overwriting_leaves_nothing_old(
        self, tmp_path: Path, memory: str, model: Branch, other: Branch
    ) -> None:
        for url in (str(tmp_path / "m.zarr"), memory):
            archive.save(url, model)
            archive.save(url, other, overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["m.zarr"]
        files, path = fsspec.url_to_fs(memory)
        assert len(files.ls(path)) == 2  # the root's metadata and one folder of arrays

    def test_only_models_are_overwritten(self, tmp_path: Path, model: Branch) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "text").write_text("dear")
        zarr.open_group(tmp_path / "data.zarr", mode="w")
        (tmp_path / "file").write_text("dear")
        for name in ("thesis", "data.zarr", "file"):
            with pytest.raises(ArchiveError, match="not a dask_em model, so it is not overwritten"):
                archive.save(tmp_path / name, model, overwrite=True)
        assert (tmp_path / "thesis" / "text").read_text() == "dear"

    def test_follows_a_link(self, tmp_path: Path, model: Branch, other: Branch) -> None:
        archive.save(tmp_path / "real", model)
        (tmp_path / "link").symlink_to("real")
        archive.save(tmp_path / "link", other, overwrite=True)
        assert same(archive.load(tmp_path / "real").record, other)
        assert (tmp_path / "link").is_symlink()

    def test_can_be_asked_before(self, url: str, model: Branch) -> None:
        assert not archive.exists(url)
        archive.check_free(url)
        archive.save(url, model)
        assert archive.exists(url)
        archive.check_free(url, overwrite=True)
        with pytest.raises(ArchiveError, match="exists"):
            archive.check_free(url)

    def test_while_writing(
        self, url: str, model: Branch, other: Branch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # another process wins the race between the check and the write
        monkeypatch.setattr(archive, "_check_free", lambda place, overwrite: None)
        archive.save(url, model)
        with pytest.raises(ArchiveError, match="cannot be written"):
            archive.save(url, other)
        assert same(archive.load(url).record, model)


class TestFullDisk:
    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_leaves_nothing(
        self, url: str, tmp_path: Path, model: Branch, after: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill_disk(monkeypatch, after)
        with pytest.raises(
            ArchiveError, match=r"model.zarr cannot be written .*No space.*free some"
        ):
            archive.save(url, model)
        assert not archive.exists(url)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_leaves_the_old_model(
        self,
        url: str,
        tmp_path: Path,
        model: Branch,
        other: Branch,
        after: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        archive.save(url, other)
        fill_disk(monkeypatch, after)
        with pytest.raises(ArchiveError, match="No space"):
            archive.save(url, model, overwrite=True)
        monkeypatch.undo()
        assert same(archive.load(url).record, other)
        assert len(list(tmp_path.iterdir())) == (0 if url.startswith("memory") else 1)

    def test_when_flushing(
        self, tmp_path: Path, model: Branch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match="quota"):
            archive.save(tmp_path / "m", model)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_real_one(
        self, tmp_path: Path, model: Branch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # every byte of every file goes to the device that is always full
        opened = Path.open
        monkeypatch.setattr(
            Path,
            "open",
            lambda self, mode="r", *rest, **named: opened(
                Path("/dev/full") if set(mode) & set("wxa") else self,
                mode.replace("x", "w"),
                *rest,
                **named,
            ),
        )
        with pytest.raises(ArchiveError, match=r"\[Errno 28\]"):
            archive.save(tmp_path / "m", model)
        assert list(tmp_path.iterdir()) == []


class TestInterruption:
    def test_of_the_first_rename(
        self, tmp_path: Path, model: Branch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*paths: Any) -> None:
            raise PermissionError(errno.EACCES, "scripted")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(ArchiveError, match="scripted"):
            archive.save(tmp_path / "m", model)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("fails", [0, 1])
    def test_of_an_overwrite(
        self,
        tmp_path: Path,
        model: Branch,
        other: Branch,
        fails: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        archive.save(tmp_path / "m", model)
        replace, calls = os.replace, []

        def refuse(source: Path, target: Path) -> None:
            if {source, target} & {tmp_path / "m"}:
                calls.append(source)
                if len(calls) == fails + 1:
                    raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(KeyboardInterrupt):
            archive.save(tmp_path / "m", other, overwrite=True)
        assert same(archive.load(tmp_path / "m").record, model)
        assert [entry.name for entry in tmp_path.iterdir()] == ["m"]

    def test_by_kill_between_the_renames_tells_where_the_old_model_is(
        self, tmp_path: Path, model: Branch
    ) -> None:
        archive.save(tmp_path / ".m.zarr.1234.tmp" / "old", model)
        with pytest.raises(ArchiveError, match=r"left the old one at .*\.m\.zarr\.1234\.tmp/old"):
            archive.load(tmp_path / "m.zarr")

    def test_by_kill_of_a_remote_write(
        self, memory: str, model: Branch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(place.RemotePlace, "_remove", lambda self, names: None)
        fill_disk(monkeypatch, 1)
        with pytest.raises(ArchiveError):
            archive.save(memory, model)
        monkeypatch.undo()
        with pytest.raises(ArchiveError, match="half-written.*overwrite=True"):
            archive.load(memory)
        archive.save(memory, model, overwrite=True)
        assert same(archive.load(memory).record, model)


class TestUnreadable:
    def test_missing(self, url: str) -> None:
        with pytest.raises(ArchiveError, match="there is no model at .*model.zarr; check the path"):
            archive.load(url)

    def test_other_things(self, tmp_path: Path) -> None:
        zarr.create_array(tmp_path / "array", shape=(2,), dtype="f8")
        zarr.open_group(tmp_path / "group", mode="w")
        (tmp_path / "file").write_text("text")
        (tmp_path / "empty").mkdir()
        for name in ("array", "group", "file", "empty"):
            with pytest.raises(ArchiveError, match=rf"{name} .*give the path of one that dask_em"):
                archive.load(tmp_path / name)

    def test_newer_format(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m", model)
        edit(tmp_path / "m", format_version=2, version="9.1", record={"new": "ways"})
        with pytest.raises(ArchiveError, match=r"dask_em 9\.1 in format 2, .* up to 1; upgrade"):
            archive.load(tmp_path / "m")

    def test_lost_array(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m", model)
        (tmp_path / "m" / "flags" / "zarr.json").unlink()
        with pytest.raises(ArchiveError, match="lacks its array 'flags'; restore"):
            archive.load(tmp_path / "m")

    def test_lost_chunk(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m", model)
        (tmp_path / "m" / "leaf" / "values" / "c" / "0" / "0").unlink()
        with pytest.raises(ArchiveError, match=r"'leaf\.values' .* not hold the bytes"):
            archive.load(tmp_path / "m")

    def test_chunks_of_fill_values_are_written_too(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m", replace(model, flags=np.zeros((2, 3))))
        assert (tmp_path / "m" / "flags" / "c" / "0" / "0").exists()

    def test_damaged_chunk(self, tmp_path: Path, model: Branch) -> None:
        archive.save(tmp_path / "m", model)
        (tmp_path / "m" / "leaf" / "values" / "c" / "0" / "0").write_bytes(b"torn")
        with pytest.raises(ArchiveError, match="cannot be read .*restore it from a copy"):
            archive.load(tmp_path / "m")

    @pytest.mark.parametrize(
        "changes", [{"record": {}}, {"record": None}, {"arrays": {}}, {"created": "?"}]
    )
    def test_damaged_manifest(self, tmp_path: Path, model: Branch, changes: dict[str, Any]) -> None:
        archive.save(tmp_path / "m", model)
        edit(tmp_path / "m", **changes)
        with pytest.raises(ArchiveError, match="cannot be read"):
            archive.load(tmp_path / "m")

    def test_unknown_protocol(self) -> None:
        with pytest.raises(ArchiveError, match="cannot be reached.*nowhere.*check its protocol"):
            archive.load("nowhere://bucket/model.zarr")


class TestPlugins:
    def announce(self, monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
        entries = [metadata.EntryPoint(value, value, archive.PLUGINS) for value in values]
        monkeypatch.setattr(metadata, "entry_points", lambda group: entries)

    def stored(self, path: Path, name: str) -> None:
        archive.save(path, Leaf(np.ones(2)))
        tree = json.loads((path / "zarr.json").read_text())["attributes"]["dask_em"]["record"]
        edit(path, record={**tree, "record": name})

    def test_unknown_record(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored(tmp_path / "m", "Alien")
        self.announce(monkeypatch, "no_such_package.models:Alien")
        with pytest.raises(ArchiveError, match=r"m cannot be read: .*'Alien'.*no_such_package"):
            archive.load(tmp_path / "m")

    def test_are_imported_on_demand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "plugin_of_test.py").write_text(
            "from dask_em.core.records import Record\n"
            "from dataclasses import dataclass\n"
            "@dataclass(frozen=True)\n"
            "class Imported(Record):\n"
            "    values: object\n    number: float\n    count: int\n    label: object\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        self.stored(tmp_path / "m", "Imported")
        self.announce(monkeypatch, "no_such_package", "plugin_of_test:Imported")
        assert type(archive.load(tmp_path / "m").record).__name__ == "Imported"

    def test_built_in_models_need_no_import(self, tmp_path: Path) -> None:
        from dask_em.models.gaussian import Gaussian

        archive.save(tmp_path / "m", Gaussian())
        code = f"from dask_em import archive; print(archive.load({str(tmp_path / 'm')!r}).record)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("Gaussian(structure=Full()")


class TestUnarchivable:
    @pytest.mark.parametrize("dtype", ["O", "U3", "M8[s]", "V4"])
    def test_dtype(self, tmp_path: Path, dtype: str) -> None:
        with pytest.raises(ArchiveError, match="'values' has dtype .*cannot be archived; use"):
            archive.save(tmp_path / "m", Leaf(np.zeros(2, dtype)))
        assert not list(tmp_path.iterdir())

    def test_fact(self, tmp_path: Path) -> None:
        with pytest.raises(
            ArchiveError, match=r"facts\.runs\[1\] is a PurePosixPath, .*use numbers"
        ):
            archive.save(tmp_path / "m", Leaf(np.zeros(2)), {"runs": [1, PurePosixPath()]})
        assert not list(tmp_path.iterdir())
