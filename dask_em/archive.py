"""Saved models: a record and facts about it, in a Zarr group that is whole or not there.

The group holds the record's arrays, ``components.means`` at ``components/means``; its attribute
``dask_em``, the manifest, holds all the rest and a SHA-256 of each array. No pickle is involved,
and any Zarr reader can open it. The manifest is written last and makes the group a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import zarr

from dask_em.archived_arrays import digest, read_arrays, storable, write_arrays
from dask_em.core.records import Array, Record
from dask_em.errors import ArchiveError
from dask_em.place import URL, Draft, Options, Place, parse_place

__all__ = ["Archived", "Summary", "check_free", "exists", "inspect", "load", "save"]

#: raised whenever an older dask_em could not read what a newer one writes
FORMAT_VERSION = 1
#: the attribute of the Zarr group that holds the manifest
MANIFEST = "dask_em"
#: entry points that are imported when an archive holds a record of unknown name
PLUGINS = "dask_em.models"

# the remedies of the errors below
ADDRESS = "check the address and your access to it"
RESTORE = "restore it from a copy, or fit and save the model again"
ROOM = (
    "free some space, check permissions or choose another path; nothing half-written is left as a "
    "model, and a model that was to be replaced is unchanged"
)


@dataclass(frozen=True)
class Archived:
    """What an archive gave back."""

    record: Record
    facts: dict[str, Any]  # as given to `save`; tuples come back as lists
    version: str  # of the dask_em that wrote it
    created: datetime  # UTC


@dataclass(frozen=True)
class Summary:
    """What an archive says about itself before its arrays are read."""

    kind: str  # class name of the record
    facts: dict[str, Any]  # as given to `save`; tuples come back as lists
    version: str  # of the dask_em that wrote it
    format_version: int
    created: datetime  # UTC
    manifest: dict[str, Any] = field(repr=False)  # as it is stored


def save(
    url: URL,
    record: Record,
    facts: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    storage_options: Options = None,
) -> None:
    """Write a record and facts about it; if that fails, a model that was there is unchanged.

    Parameters
    ----------
    url : str or path
        A local path, or any URL that fsspec opens.
    record : Record
        The value; its arrays hold booleans or numbers.
    facts : mapping, optional
        What else is to be remembered: numbers, strings, None, and lists and mappings of these.
    overwrite : bool
        Whether a model that is there already is replaced. Nothing but a model is ever replaced.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    ArchiveError
        If the place is taken, the value cannot be archived or the place cannot be written.
    """
    place = parse_place(url, storage_options)
    tree, arrays = record.flatten()
    arrays = {name: storable(name, values) for name, values in arrays.items()}
    manifest = {
        "format": "dask_em model",
        "format_version": FORMAT_VERSION,
        "version": _installed_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "record": tree,
        "arrays": {name: digest(values) for name, values in arrays.items()},
        "facts": _encoded(facts or {}, "facts"),
        "complete": True,
    }
    _check_free(place, overwrite)
    with place.explain("written", ROOM), place.draft(overwrite) as draft:
        _write(draft, manifest, arrays)


def load(url: URL, storage_options: Options = None) -> Archived:
    """Read what `save` wrote, bit by bit.

    Raises
    ------
    ArchiveError
        If there is no model, it is half-written, damaged or written by a newer dask_em, or it
        holds a record that no installed package defines.
    """
    place = parse_place(url, storage_options)
    summary = _summary(place)
    with place.explain("read", RESTORE):
        arrays = _read(place, summary.manifest)
        record = _rebuilt(place, summary.manifest["record"], arrays)
    return Archived(record, summary.facts, summary.version, summary.created)


def inspect(url: URL, storage_options: Options = None) -> Summary:
    """What an archive says about itself; no array is read and no plug-in imported.

    Raises
    ------
    ArchiveError
        If there is no model, or it is half-written or written by a newer dask_em.
    """
    return _summary(parse_place(url, storage_options))


def exists(url: URL, storage_options: Options = None) -> bool:
    """Whether anything, a model or not, is at the place.

    Raises
    ------
    ArchiveError
        If the place cannot be reached.
    """
    place = parse_place(url, storage_options)
    with place.explain("reached", ADDRESS):
        return place.exists()


def check_free(url: URL, overwrite: bool = False, storage_options: Options = None) -> None:
    """Raise now what `save` would raise after the work because its place is taken.

    Raises
    ------
    ArchiveError
        If something is at the place, unless it is a model and `overwrite` is set.
    """
    _check_free(parse_place(url, storage_options), overwrite)


def _check_free(place: Place, overwrite: bool) -> None:
    with place.explain("reached", ADDRESS):
        taken = place.exists()
    if not taken:
        return
    if not overwrite:
        raise ArchiveError(
            f"{place} exists; pass overwrite=True (--overwrite) to replace it, or choose another "
            "path"
        )
    try:
        _manifest(place)
    except ArchiveError as error:
        raise ArchiveError(
            f"{place} exists and is not a dask_em model, so it is not overwritten; remove it "
            "yourself or choose another path"
        ) from error


def _open(place: Place) -> zarr.Group:
    return zarr.open_group(place.store(), mode="r", zarr_format=3)


def _manifest(place: Place) -> dict[str, Any]:
    with place.explain("reached", ADDRESS):
        if not place.exists():
            raise ArchiveError(f"there is no model at {place}{place.leftovers()}; check the path")
    with place.explain("read as a model", "give the path of one that dask_em saved"):
        manifest = _open(place).attrs.get(MANIFEST)
    if not isinstance(manifest, dict):
        raise ArchiveError(
            f'{place} is a Zarr group without the attribute "{MANIFEST}", so not a dask_em model; '
            "give the path of one that dask_em saved"
        )
    return manifest


def _summary(place: Place) -> Summary:
    manifest = _manifest(place)
    if not manifest.get("complete"):
        raise ArchiveError(
            f"the model at {place} is half-written: it was not finished; save it again with "
            "overwrite=True (--overwrite)"
        )
    with place.explain("read", RESTORE):
        version, written = str(manifest["version"]), int(manifest["format_version"])
        if written > FORMAT_VERSION:
            raise ArchiveError(
                f"the model at {place} was written by dask_em {version} in format {written}, but "
                f"dask_em {_installed_version()} reads formats up to {FORMAT_VERSION}; upgrade "
                "dask_em"
            )
        kind = str(manifest["record"]["record"])
        created = datetime.fromisoformat(manifest["created"])
        return Summary(kind, _decoded(manifest["facts"]), version, written, created, manifest)


def _write(draft: Draft, manifest: dict[str, Any], arrays: Mapping[str, Array]) -> None:
    if not draft.folder:  # else there is a model, with a manifest of its own
        begun = {"format": manifest["format"], "complete": False}
        zarr.create_group(draft.store, zarr_format=3, attributes={MANIFEST: begun})
    write_arrays(draft.store, draft.folder, arrays)
    root = zarr.open_group(draft.store, mode="r+", zarr_format=3)
    root.attrs[MANIFEST] = {**manifest, "folder": draft.folder}


def _read(place: Place, manifest: Mapping[str, Any]) -> dict[str, Array]:
    arrays = read_arrays(place.store(), manifest["folder"], manifest["arrays"])
    for name, values in arrays.items():
        if values is None:
            raise ArchiveError(f"the model at {place} lacks its array {name!r}; {RESTORE}")
        if digest(values) != manifest["arrays"][name]:
            raise ArchiveError(
                f"the array {name!r} of the model at {place} does not hold the bytes that were "
                f"saved; {RESTORE}"
            )
    return {name: values for name, values in arrays.items() if values is not None}


def _rebuilt(place: Place, tree: Mapping[str, Any], arrays: Mapping[str, Array]) -> Record:
    try:
        return Record.unflatten(tree, arrays)
    except ArchiveError:  # a name may become known when the plug-ins are imported
        broken = _import_plugins()
    try:
        return Record.unflatten(tree, arrays)
    except ArchiveError as error:
        hint = f" (could not be imported: {'; '.join(broken)})" if broken else ""
        raise ArchiveError(f"{place} cannot be read: {error}{hint}") from error


def _import_plugins() -> list[str]:
    """Import all that announces models; return what failed and why."""
    broken = []
    for entry in metadata.entry_points(group=PLUGINS):
        try:
            entry.load()
        except Exception as error:  # one broken plug-in must not hide the others
            broken.append(f"{entry.value}: {error}")
    return broken


def _encoded(fact: Any, name: str) -> Any:
    """A fact in strict JSON, which knows neither NaN nor infinity."""
    if isinstance(fact, Mapping):
        mapping = {str(key): _encoded(value, f"{name}.{key}") for key, value in fact.items()}
        # a mapping that looks like the mark of a float gets a mark of its own
        return {"mapping": mapping} if set(mapping) in ({"float"}, {"mapping"}) else mapping
    if isinstance(fact, list | tuple):
        return [_encoded(value, f"{name}[{index}]") for index, value in enumerate(fact)]
    if isinstance(fact, np.generic):
        fact = fact.item()
    if isinstance(fact, float) and not np.isfinite(fact):
        return {"float": repr(fact)}
    if fact is None or isinstance(fact, bool | int | float | str):
        return fact
    raise ArchiveError(
        f"{name} is a {type(fact).__name__}, which cannot be archived; use numbers, strings, None, "
        "and lists and mappings of these"
    )


def _decoded(fact: Any) -> Any:
    if isinstance(fact, list):
        return [_decoded(value) for value in fact]
    if not isinstance(fact, dict):
        return fact
    if set(fact) == {"float"}:
        return float(fact["float"])
    if set(fact) == {"mapping"}:
        return {key: _decoded(value) for key, value in fact["mapping"].items()}
    return {key: _decoded(value) for key, value in fact.items()}


def _installed_version() -> str:
    try:
        return metadata.version("dask_em")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+unknown"
