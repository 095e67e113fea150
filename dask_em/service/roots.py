"""Roots: where jobs may read and write."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from glob import iglob
from itertools import chain
from typing import Any

from dask_em.errors import AccessError, InputError
from dask_em.remote.secrets import without_secrets
from dask_em.service.spec import Fit, Predict, Sweep
from dask_em.sources.paths import is_glob

__all__ = ["check_places", "places_of"]


def places_of(spec: Fit | Sweep | Predict) -> Iterator[tuple[str, str]]:
    """All that a specification reads and writes: the name of the field, and the path or URL."""
    urls = spec.data.url if isinstance(spec.data.url, list) else [spec.data.url]
    for url in urls:
        yield "data.url", url
    if spec.checkpoint is not None:
        yield "checkpoint", spec.checkpoint
    if isinstance(spec, Predict):
        yield "model", spec.model
        for name, url in spec.outputs.items():
            yield f"outputs.{name}", url
        return
    weight = spec.data.sample_weight
    if weight is not None and ("/" in weight or os.sep in weight):  # else it is a name in the data
        yield "data.sample_weight", weight
    if spec.output is not None:
        yield "output", spec.output


def check_places(spec: Fit | Sweep | Predict, roots: Sequence[str] | None) -> None:
    """Refuse what lies outside of the roots.

    Parameters
    ----------
    spec : specification
    roots : sequence of str, or None
        Folders and URL prefixes; None allows all.

    Raises
    ------
    InputError
        If a path is relative: nobody knows to what.
    AccessError
        Which names the path and the roots.
    """
    for field, url in places_of(spec):
        _check_absolute(field, url)
        if roots is not None and not _allowed(url, roots, spec.data.storage_options or {}):
            raise AccessError(
                f"{field} is {without_secrets(url)}, outside of what this service reads and "
                f"writes: {', '.join(map(without_secrets, roots)) or 'nothing'}; move it there, or "
                "ask for another root in the setting em.roots"
            )


def _check_absolute(field: str, url: str) -> None:
    protocol, path = _split(url)
    if protocol == "file" and not os.path.isabs(path):
        raise InputError(
            f"{field} is {url!r}, a relative path, and a job may run anywhere; give the absolute "
            f"one, perhaps {os.path.abspath(path)}"
        )


def _allowed(url: str, roots: Sequence[str], options: Mapping[str, Any]) -> bool:
    if "::" in url:
        return False  # chains such as simplecache::s3://... name more than one place
    protocol, path = _split(url)
    if options and protocol == "file":
        return False
    if protocol != "file" and (".." in path.split("/") or "\\" in path or "%" in path):
        return False
    return any(_within(protocol, path, *_split(root)) for root in roots)


def _within(protocol: str, path: str, root_protocol: str, root: str) -> bool:
    if protocol != root_protocol:
        return False
    if protocol == "file":
        root = os.path.realpath(root)
        found = iglob(path, recursive=True) if is_glob(path) else ()
        # links are followed: what lies outside is outside, and nothing is looked for there
        return all(
            os.path.commonpath([os.path.realpath(one), root]) == root
            for one in chain((path,), found)
        )
    path, root = posixpath.normpath(path), posixpath.normpath(root)
    return path == root or path.startswith(f"{root}/")


def _split(url: str) -> tuple[str, str]:
    protocol, separator, rest = url.partition("://")
    if not separator:
        return "file", url
    protocol = protocol.lower()
    return ("file" if protocol in ("file", "local") else protocol), rest
