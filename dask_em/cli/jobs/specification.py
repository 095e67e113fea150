"""Specification: a file or stdin made into a job, before anything is asked of a service."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_em.cli.outcome import wrong_usage
from dask_em.errors import InputError

if TYPE_CHECKING:
    from dask_em.service.spec import Fit, Predict, Sweep

__all__ = ["Specification", "absolute", "is_relative"]


@dataclass(frozen=True)
class Specification:
    """A job as it is written, and as it is understood."""

    told: dict[str, Any]  # of JSON
    job: Fit | Sweep | Predict

    @classmethod
    def read(cls, path: str) -> Specification:
        """The specification in a file, or in stdin for ``-``.

        Raises
        ------
        typer.Exit
            If it cannot be read, is none, or has paths that depend on where somebody stands; each
            fault is told.
        """
        import json

        from dask_em.service.roots import places_of
        from dask_em.service.spec import parse, text_of

        given = _text(path)
        try:
            text = text_of(given)
            job = parse(text)
        except InputError as error:
            raise wrong_usage(f"{_named(path)}: {error}") from error
        faults = [
            f"{where} is {url!r}, a relative path, and a job may run elsewhere; write "
            f"{absolute(url)!r}"
            for where, url in places_of(job)
            if is_relative(url)
        ]
        if faults:
            raise wrong_usage(f"{_named(path)}: {'; '.join(faults)}")
        return cls(json.loads(text), job)

    @property
    def token(self) -> str:
        """The name of all that decides what the job gives."""
        from dask_em.service.spec import token

        return token(self.job)


def is_relative(url: str) -> bool:
    """Whether it depends on the working directory, or on whose home it is, where a path leads."""
    from dask_em.sources.paths import is_url

    return not (is_url(url) or os.path.isabs(url))


def absolute(url: str) -> str:
    """The same, wherever one stands; a URL as it is."""
    return os.path.abspath(os.path.expanduser(url)) if is_relative(url) else url


def _text(path: str) -> bytes:
    if path == "-":
        if sys.stdin is None:
            raise wrong_usage("stdin is closed; pipe a specification into it, or give its file")
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise wrong_usage(
            f"{path} cannot be read ({reason}); give the file of a specification, or - for stdin. "
            "dask-em job init writes one"
        ) from error


def _named(path: str) -> str:
    return "stdin" if path == "-" else path
