"""Parquet datasets that are written file by file beside those that are read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dask_em.engine.writing import Output
from dask_em.errors import InputError
from dask_em.place import LocalPlace, Options, Place, parse_place
from dask_em.sources.apart import check_outputs
from dask_em.sources.drafts import (
    UNFINISHED,
    WHOLE,
    Draft,
    Marks,
    explained,
    put_all,
)
from dask_em.sources.kept import open_draft
from dask_em.sources.marked import MARK_FILE, write_mark
from dask_em.sources.names import answer_names, chosen
from dask_em.sources.parquet.files import File
from dask_em.sources.parquet.writing import ParquetOutput

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger
    from dask_em.sources.parquet.source import ParquetSource
    from dask_em.sources.zarr_output import Planned

__all__ = ["create_files"]


@contextmanager
def create_files(
    source: ParquetSource,
    planned: Sequence[Planned],
    keys: Sequence[str],
    *,
    overwrite: bool = False,
    storage_options: Options = None,
    ledger: Ledger | None = None,
) -> Iterator[Output]:
    """A file for each file of a source, with a row for each row, as long as they are written.

    They bear the same names in the same folders, and have the same row groups; what was read of a
    row group in parts becomes several. When the context ends all are at their places; when it
    raises none is, as in `zarr_output.create_outputs`.

    Parameters
    ----------
    source : ParquetSource
        Whose rows are answered.
    planned : sequence of Planned
        The answers, which become columns of one dataset.
    keys : sequence of str
        Columns of the source, by name or pattern, that are copied to stand before the answers.
        Those that stand in the names of folders do so without being copied.
    overwrite, storage_options, ledger
        As in `zarr_output.create_outputs`.

    Raises
    ------
    InputError
        If the answers are meant for several places, or two columns would have one name.
    SchemaError
        If a key does not exist.
    SourceError
        If the place is taken or cannot be written.
    """
    url = _one_place(planned)
    keys = _keys(source, keys)
    schema = _schema(source, planned, keys)
    check_outputs([url], overwrite, storage_options, source, ledger)
    if ledger is not None:
        ledger.mark()
    place = parse_place(url, storage_options)
    with ExitStack() as stack:
        with explained(place, ledger is not None):
            draft = stack.enter_context(open_draft(place, overwrite, MARKS, ledger))
            if not draft.made:
                _begin(draft.folder, source.dataset.files)
                draft.begun()
        yield ParquetOutput(
            draft.folder,
            str(place),
            schema,
            source.reader(keys, source.spans),
            source.reader(source.table.columns, source.spans),
            source.spans,
            draft.kept,
        )
        put_all([draft], ledger)


def _one_place(planned: Sequence[Planned]) -> Any:
    urls = list(dict.fromkeys(one.url for one in planned))
    if len(urls) > 1:
        raise InputError(
            f"the answers for rows of Parquet are columns of one dataset, but {len(urls)} places "
            f"were given: {', '.join(map(str, urls))}; pass True instead of a further URL, e.g. "
            "probabilities=True"
        )
    return urls[0]


def _keys(source: ParquetSource, wanted: Sequence[str]) -> list[str]:
    if not wanted:
        return []
    there = source.table.schema.names
    wanted = [wanted] if isinstance(wanted, str) else wanted
    names = chosen(wanted, there, there, source.dataset.where)
    return [name for name in names if name not in source.table.partitions.names]


def _schema(source: ParquetSource, planned: Sequence[Planned], keys: Sequence[str]) -> pa.Schema:
    fields = [source.table.schema.field(name).with_nullable(True) for name in keys]
    features = source.schema.feature_names or ()
    for one in planned:
        about = {key: str(value) for key, value in one.attributes.items()}
        kind = pa.from_numpy_dtype(np.dtype(one.dtype))
        names = answer_names(one.name, one.trailing, features)
        fields += [pa.field(name, kind, metadata=about) for name in names]
    names = [field.name for field in fields] + source.table.partitions.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"keys and answers both have a column {twice[0]!r}; leave that key out, or rename it"
        )
    return pa.schema(fields)


def _begin(folder: Place, of: Sequence[File]) -> None:
    """The mark, and the folders of all files; in object stores there are none."""
    if isinstance(folder, LocalPlace):
        for name in sorted({posixpath.dirname(file.name) for file in of} | {""}):
            Path(folder.path, name).mkdir(parents=True, exist_ok=True)
    write_mark(folder, UNFINISHED)


def _mark_whole(draft: Draft) -> None:
    if isinstance(draft.folder, LocalPlace):
        for left in draft.folder.path.rglob(".*"):
            left.unlink()  # by a worker that died while it wrote
    write_mark(draft.folder, WHOLE)


def _mark_unfinished(draft: Draft) -> None:
    write_mark(draft.folder, UNFINISHED)


MARKS = Marks(MARK_FILE, _mark_whole, _mark_unfinished)
