"""What tasks write of Zarr stores: an array for each query, region by region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from dask_em.core.records import Array
from dask_em.engine.ahead import behind
from dask_em.engine.readable import Readable
from dask_em.engine.source import Region
from dask_em.engine.writing import Output, Writer
from dask_em.errors import SourceError
from dask_em.remote.store import PatientStore
from dask_em.sources.drafts import not_there, unwritten
from dask_em.sources.durable import flush

__all__ = ["ZarrOutput", "ZarrOutputs"]

#: makes a call, of which so many bytes wait, now or in another thread
Make: TypeAlias = Callable[[Callable[[], object], int], object]


@dataclass(frozen=True)
class ZarrOutput:
    """An array of the samples' shape; small and picklable, opened where it is written.

    Parameters
    ----------
    store : Store
        Of the group, as it is while it is written.
    name : str
        The array in the group.
    place : str
        Where the group will be, for error messages.
    kept : bool
        Whether what is written is kept if the work is broken off.
    """

    store: Store
    name: str
    place: str
    kept: bool = False

    def write(self, region: Region, values: Array) -> None:
        """Write one region; regions of different tasks share no chunk.

        Raises
        ------
        SourceError
            If the store cannot be reached from this machine, or not be written.
        """
        try:
            self._check_there()
            self._array[region] = values.astype(self._array.dtype, copy=False)
        except SourceError:
            raise
        except Exception as error:  # a file system, a network or a codec may raise anything here
            raise unwritten(self.place, error, self.kept) from error

    def settle(self, regions: Iterable[Region]) -> None:
        """See that regions that were written are still there when the machine loses its power.

        Raises
        ------
        SourceError
            If they cannot be written.
        """
        if not self.kept or not isinstance(self.store, LocalStore):
            return
        root = Path(self.store.root)
        try:
            flush((root / key for region in regions for key in self._keys(region)), root)
        except OSError as error:
            raise unwritten(self.place, error, self.kept) from error

    def _keys(self, region: Region) -> Iterator[str]:
        """The chunks of a region in the store."""
        whole = (slice(0, length) for length in self._array.shape[len(region) :])
        parts = zip((*region, *whole), self._array.chunks, strict=True)
        for cell in product(*(range(p.start // n, -(-p.stop // n)) for p, n in parts)):
            yield f"{self.name}/{self._array.metadata.encode_chunk_key(cell)}"

    @cached_property
    def _array(self) -> Any:
        return zarr.open_array(self.store, path=self.name, mode="r+", zarr_format=3)

    def _check_there(self) -> None:
        if isinstance(self.store, LocalStore) and not Path(self.store.root, "zarr.json").exists():
            raise not_there(self.place)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_array"}


@dataclass(frozen=True)
class ZarrOutputs(Output):
    """An array for the answers to each query."""

    arrays: tuple[ZarrOutput, ...]

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        regions: list[Region] = []
        with self._making() as make:

            def write(found: Readable, answers: tuple[Array, ...]) -> None:
                assert found.region is not None  # else there was no layout
                regions.append(found.region)
                for array, values in zip(self.arrays, answers, strict=True):
                    # not what was found: its rows would wait with the answers
                    make(partial(array.write, found.region, values), values.nbytes)

            yield write
        for array in self.arrays:
            array.settle(regions)

    def _making(self) -> AbstractContextManager[Make]:
        remote = any(isinstance(array.store, PatientStore) for array in self.arrays)
        return behind() if remote else nullcontext(_now)


def _now(call: Callable[[], object], _: int) -> object:
    return call()
