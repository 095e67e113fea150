"""Where outputs may go: free places, apart from each other and from what is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import zarr
from zarr.storage import FsspecStore, LocalStore, WrapperStore, ZipStore

from dask_em.engine.source import Source
from dask_em.errors import InputError, SourceError
from dask_em.place import URL, LocalPlace, Options, Place, address_of, parse_place
from dask_em.remote.remedies import unreached
from dask_em.remote.secrets import unless_secret
from dask_em.sources.drafts import WHOLE, mark_of
from dask_em.sources.kept import is_ours, owner_of

if TYPE_CHECKING:
    from dask_em.engine.ledger import Ledger

__all__ = ["addresses_of", "check_apart", "check_outputs"]

Address: TypeAlias = tuple[str, ...]


@runtime_checkable
class SupportsAddresses(Protocol):
    """A source that tells where it reads."""

    def addresses(self) -> set[Address]:
        """Of all that is read."""


def check_outputs(
    urls: Sequence[URL],
    overwrite: bool = False,
    storage_options: Options = None,
    source: Source | None = None,
    ledger: Ledger | None = None,
) -> None:
    """Raise now what creating outputs would raise because of their places.

    Parameters
    ----------
    urls : sequence of str or path
        Of the outputs.
    overwrite : bool
        Whether an output of dask_em that is there already may be replaced.
    storage_options : mapping, optional
        For fsspec.
    source : Source, optional
        What is read.
    ledger : Ledger, optional
        Whose drafts and outputs may be there.

    Raises
    ------
    InputError
        If an output is, holds, or lies inside another, or a Zarr store that is read.
    SourceError
        If something is at a place, unless it is an output of dask_em and `overwrite` is set.
    """
    places = [parse_place(url, storage_options) for url in urls]
    addresses = [_address(place) for place in places]
    for one, other in combinations(range(len(places)), 2):
        if _overlap(addresses[one], addresses[other]):
            raise InputError(
                f"the outputs {places[one]} and {places[other]} are one place, or one lies inside "
                "the other; give each a store of its own"
            )
    origin = None if source is None else source.origin
    # what a dask array reads is not known
    taken: set[Address] = origin.addresses() if isinstance(origin, SupportsAddresses) else set()
    for read in taken:
        for place, address in zip(places, addresses, strict=True):
            if _overlap(address, read):
                raise InputError(
                    f"the output {place} is the store that rows are read from, holds it or lies "
                    "inside it; choose a path apart from it"
                )
    for place in places:
        _check_free(place, overwrite, ledger)


def check_apart(checkpoint: Place, urls: Sequence[URL], storage_options: Options = None) -> None:
    """Refuse a checkpoint that is, holds, or lies inside an output.

    Raises
    ------
    InputError
        If that is so.
    """
    for url in urls:
        place = parse_place(url, storage_options)
        if _overlap(_address(place), _address(checkpoint)):
            raise InputError(
                f"the checkpoint {checkpoint} and the output {place} are one place, or one lies "
                "inside the other; give the checkpoint a folder of its own"
            )


def _check_free(place: Place, overwrite: bool, ledger: Ledger | None) -> None:
    with _reached(place):
        taken = place.exists()
    if not taken or (ledger is not None and is_ours(place, ledger)):
        return
    mark = mark_of(place)
    if mark != WHOLE and owner_of(place) is not None:
        raise SourceError(
            f"{place} holds an unfinished output that a checkpoint keeps; make the call again that "
            "began it, with its checkpoint, or remove what is there, or choose another path"
        )
    if not overwrite:
        raise SourceError(
            f"{place} exists; pass overwrite=True (--overwrite) to replace it, or choose another "
            "path"
        )
    if mark is None:
        raise SourceError(
            f"{place} exists and was not written by dask_em as an output, so it is not "
            "overwritten; remove it yourself or choose another path"
        )


def _overlap(one: Address, other: Address) -> bool:
    """Whether two places are the same, or one lies inside the other."""
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _address(place: Place) -> Address:
    with _reached(place):
        return place.address


@contextmanager
def _reached(place: Place) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # of a file system or a network
        raise unreached(error, str(place)) from unless_secret(error)


def addresses_of(arrays: Iterable[Any]) -> set[Address]:
    """Of the Zarr hierarchies that arrays belong to, as far as they are known."""
    folders = {(id(array.store), array.path.rpartition("/")[0]): array for array in arrays}
    found = {_array_address(array) for array in folders.values()}
    return {address for address in found if address is not None}


def _array_address(array: Any) -> Address | None:
    store: Any = array.store
    while isinstance(store, WrapperStore):
        store = store._store
    names = tuple(name for name in _outermost(array).split("/") if name)
    if isinstance(store, LocalStore):
        return (*LocalPlace(Path(store.root).resolve()).address, *names)
    if isinstance(store, ZipStore):
        return LocalPlace(Path(store.path).resolve()).address
    if isinstance(store, FsspecStore):
        return (*address_of(store.fs, store.path), *names)
    return None


def _outermost(array: Any) -> str:
    """The path of the outermost group that an array belongs to; its own if there is none."""
    path = str(array.path)
    while path:
        parent = path.rpartition("/")[0]
        try:
            zarr.open_group(array.store, path=parent, mode="r")
        except Exception:  # no group is there, or it may not be read
            return path
        path = parent
    return path
