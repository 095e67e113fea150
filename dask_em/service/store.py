"""Store: the folder, or bucket, in which jobs are kept, in files that people can read.

::

    service.json               who serves it
    jobs/<id>/spec.json        as it was submitted
              record.json      where it stands: all that decides what happens next
              trace.jsonl      a line for each pass that counts
              log.jsonl        a line for each thing that happened
              checkpoints/     of its drivers, by epoch and run
              model/           what it made
              output           where else that was written

Files are whole or as they were before. What cannot be read is set aside, and named.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from dask_em.errors import ArchiveError
from dask_em.place import Options
from dask_em.remote.files import Files, open_files
from dask_em.remote.secrets import without_secrets
from dask_em.service.job import Job

__all__ = ["JobStore", "StoredJob"]

SPEC, RECORD, TRACE, LOG, MODEL = "spec.json", "record.json", "trace.jsonl", "log.jsonl", "model"
CHECKPOINTS = "checkpoints"
#: says where a driver began to write the output, which is the job's own from then on
OUTPUT = "output"
#: raised whenever an older dask_em could not read what a newer one wrote
VERSION = 1
FORMAT = "dask_em job"
#: how the name of a file begins that could not be read
ASIDE = "unreadable-"
#: the name of a driver's checkpoint: its epoch and its run
DRIVERS = re.compile(r"\d+\.\d+")
#: seconds between tries to remove a folder that somebody still writes to
PAUSES = (0.1, 0.5, 1.0)

_JOB = TypeAdapter(Job)


@dataclass(frozen=True)
class StoredJob:
    """A job as it was found.

    Parameters
    ----------
    job : Job
    spec : str
        JSON, as it was submitted.
    key : str, or None
        Under which it was submitted, so that it is submitted once.
    trace, log : list of dict
    """

    job: Job
    spec: str
    key: str | None
    trace: list[dict[str, Any]]
    log: list[dict[str, Any]]


class JobStore:
    """Reads and writes the files of jobs. Calls wait for a disk or a network.

    Parameters
    ----------
    url : str
        Path or URL.
    options : mapping, optional
        For fsspec.

    Raises
    ------
    SourceError
        If there is no file system for the URL.
    """

    def __init__(self, url: str, options: Options = None) -> None:
        self.url, self.options = url.rstrip("/"), options
        self._files = open_files(self.url, options)

    def __str__(self) -> str:
        return without_secrets(self.url)

    def inside(self, id: str, *names: str) -> str:
        """The path or URL of something of a job."""
        return "/".join((self.url, "jobs", id, *names))

    def load(self) -> tuple[list[StoredJob], list[str]]:
        """All jobs, and what could not be read of them, in words.

        Raises
        ------
        ArchiveError
            If the store cannot be read.
        """
        found, faults = [], []
        for name in self._ids():
            try:
                found.append(self._read(name))
            except NotADirectoryError:
                faults.append(
                    f"{name} in {self}/jobs is a file, not the folder of a job; remove it"
                )
            except IsADirectoryError as error:
                faults.append(
                    f"job {name} in {self} cannot be read: there is a folder where a file is to "
                    f"be ({error}); remove it, and submit the job again"
                )
            except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
                faults.append(self._set_aside(name, error))
        return found, faults

    def add(self, job: Job, spec: str, key: str | None) -> None:
        """Keep a new job."""
        self._files.make_folder(f"jobs/{job.id}")
        self._files.write(f"jobs/{job.id}/{SPEC}", spec.encode())
        self.save(job, key)

    def save(self, job: Job, key: str | None) -> None:
        """Keep where a job stands."""
        told = {"format": FORMAT, "version": VERSION, "key": key, **asdict(job)}
        self._files.write(f"jobs/{job.id}/{RECORD}", json.dumps(told, indent=1).encode())

    def write_lines(self, id: str, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write all lines of a file."""
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self._files.write(f"jobs/{id}/{name}", text.encode())

    def forget(self, id: str) -> None:
        """Remove all of a job."""
        for pause in (*PAUSES, None):
            try:
                self._files.remove(f"jobs/{id}")
                break
            except OSError:
                if pause is None:
                    raise
                # a driver that was cancelled may still write, rename or remove a last file
                time.sleep(pause)

    def forget_checkpoints(self, id: str, before: str | None = None) -> None:
        """Remove the checkpoints of a job, or only those of the drivers before one.

        That one may be dead for the service by now, and those after it at work.
        """
        folder = self._below(f"jobs/{id}/{CHECKPOINTS}")
        if before is None:
            folder.remove()
            return
        with suppress(FileNotFoundError):
            for name in folder.names():
                if DRIVERS.fullmatch(name) and _turn(name) < _turn(before):
                    folder.remove(name)

    def model_files(self, id: str) -> Iterator[tuple[str, bytes]]:
        """The names and bytes of the files of a job's model."""
        yield from self._below(f"jobs/{id}/{MODEL}").all_files()

    def claim(self, who: Mapping[str, Any]) -> dict[str, Any] | None:
        """Say who serves the store; return who did."""
        self._files.make_folder()
        before = self.claimed()
        self._files.write("service.json", json.dumps(who, indent=1).encode())
        return before

    def claimed(self) -> dict[str, Any] | None:
        """Who serves the store."""
        with suppress(FileNotFoundError, ValueError):
            told = json.loads(self._files.read("service.json"))
            return told if isinstance(told, dict) else None
        return None

    def unclaim(self, id: str) -> None:
        """Say that nobody serves the store, if it was somebody."""
        with suppress(OSError):
            if (self.claimed() or {}).get("id") == id:
                self._files.remove("service.json")

    def _ids(self) -> list[str]:
        folder = self._below("jobs")
        if not folder.exists():
            return []
        return sorted(name for name in folder.names() if not name.startswith("."))

    def _read(self, id: str) -> StoredJob:
        told = json.loads(self._read_file(id, RECORD))
        if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
            raise ValueError("it is not the record of a job")
        if told.pop("version", 0) > VERSION:
            raise ArchiveError(
                f"job {id} in {self} was written by a newer dask_em; upgrade the service"
            )
        key = told.pop("key", None)
        if not isinstance(key, str | None):
            raise ValueError(f"its key is {key!r}, and no text")  # noqa: TRY004 -- of a file
        job = _JOB.validate_python(told)
        if job.id != id:
            raise ValueError(f"it is the record of job {job.id}")
        spec = self._read_file(id, SPEC).decode()
        return StoredJob(job, spec, key, self._lines(id, TRACE), self._lines(id, LOG))

    def _read_file(self, id: str, name: str) -> bytes:
        return self._files.read(f"jobs/{id}/{name}")

    def _lines(self, id: str, name: str) -> list[dict[str, Any]]:
        found = []
        with suppress(FileNotFoundError):
            for line in self._read_file(id, name).splitlines():
                with suppress(ValueError):  # what is told to people decides nothing
                    found.append(json.loads(line))
        return found

    def _set_aside(self, id: str, error: Exception) -> str:
        what = f"job {id} in {self} cannot be read ({type(error).__name__}: {error})"
        try:
            data = self._read_file(id, RECORD)
        except FileNotFoundError:
            return f"{what}; its {RECORD} is not there: submit its {SPEC} again, or remove it"
        with suppress(OSError):
            self._files.write(f"jobs/{id}/{ASIDE}{RECORD}", data)
            self._files.remove(f"jobs/{id}/{RECORD}")
        return f"{what}; its record is now {ASIDE}{RECORD}: mend it, or submit its {SPEC} again"

    def _below(self, name: str) -> Files:
        return open_files(f"{self.url}/{name}", self.options)


def _turn(name: str) -> tuple[int, ...]:
    """When a driver was started, among those of a job."""
    return tuple(map(int, name.split(".")))
