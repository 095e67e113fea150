"""Client: jobs from Python, over the connection that Dask's own client uses."""

from __future__ import annotations

import getpass
import io
import json
import math
import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, cast

from dask_em.errors import ClusterError, InputError, JobError
from dask_em.service.connection import Connection, OwnConnection, found, patiently
from dask_em.service.handlers import raise_told
from dask_em.service.view import JobView, Mark, PassView

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Job", "Service", "job", "jobs", "submit"]

T = TypeVar("T")

#: a cluster: its client, its address, or None for the current one
Where: TypeAlias = "Client | Service | str | None"
#: seconds that the service may take its time with the answer that a job has changed
LONG = 20.0
#: lines of the log that are told with a failure
LAST_LINES = 15


def submit(
    spec: Mapping[str, Any] | str | Path,
    *,
    client: Where = None,
    idempotency_key: str | None = None,
    wait: bool = False,
) -> Job:
    """Hand a job to the job service of a cluster, which does it whether or not anybody watches.

    Parameters
    ----------
    spec : mapping, JSON text, or path of a JSON file
        What is to be done, see ``dask-em job init`` and ``dask-em job schema``.
    client : distributed.Client or str, optional
        The cluster, or the address of its scheduler; by default the current client, or what
        Dask's configuration has as ``scheduler-address``.
    idempotency_key : str, optional
        A second submission under the same key is the first one.
    wait : bool
        Whether to return when it has ended.

    Raises
    ------
    InputError, SourceError, ArchiveError, AccessError
        If the specification, or what it names, cannot be used.
    ClusterError
        If no job service answers.
    """
    made = Service.connect(client).submit(spec, idempotency_key=idempotency_key)
    if wait:
        made.wait()
    return made


def jobs(
    *,
    client: Where = None,
    state: str | None = None,
    owner: str | None = None,
    tag: str | None = None,
) -> list[Job]:
    """The jobs of a cluster, the one that was submitted last first.

    Parameters
    ----------
    client
        As in `submit`.
    state : {"queued", "running", "done", "failed", "cancelled"}, optional
    owner : str, optional
    tag : str, optional
        A tag that they have, or ``name=value``.
    """
    return Service.connect(client).jobs(state=state, owner=owner, tag=tag)


def job(id: str, *, client: Where = None) -> Job:
    """A job of a cluster; `client` is as in `submit`.

    Raises
    ------
    UnknownJobError
        If there is none of that name.
    """
    return Service.connect(client).job(id)


class Service:
    """The job service of a cluster. Made by `connect`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, where: Where = None, timeout: float = 5.0) -> Service:
        """Find the service.

        Parameters
        ----------
        where
            As `client` in `submit`.
        timeout : float
            Seconds to wait for a scheduler.

        Raises
        ------
        ClusterError
            If there is no cluster, or it does not answer.
        """
        if isinstance(where, Service):
            return cls(where._connection)
        if where is None:
            where = found()
        if isinstance(where, str):
            return cls(OwnConnection(where, timeout))
        return cls(Connection(where))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, if it was reached by its address; its jobs ask no more."""
        self._connection.close()

    def submit(
        self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None
    ) -> Job:
        """As the function of this name."""
        text = _with_owner(_text(spec))
        return Job(self, self.ask("submit", spec=text, idempotency_key=idempotency_key))

    def jobs(
        self, *, state: str | None = None, owner: str | None = None, tag: str | None = None
    ) -> list[Job]:
        """As the function of this name."""
        return [Job(self, told) for told in self.ask("jobs", state=state, owner=owner, tag=tag)]

    def job(self, id: str) -> Job:
        """As the function of this name."""
        return Job(self, self.ask("job", id=id))

    def changed(self, version: int, timeout: float = LONG) -> int:
        """Return when any job has changed since a version, with the version now."""
        return int(self.ask("changed", id=None, version=version, timeout=timeout))

    def ask(self, what: str, **asked: Any) -> Any:
        """An answer of the service.

        Raises
        ------
        DaskEmError
            What the service raised.
        """
        return raise_told(self._connection.ask(what, asked))


class Job:
    """A job of a service.

    Parameters
    ----------
    service : Service
    told : mapping
        What the service said of it.
    """

    def __init__(self, service: Service, told: Mapping[str, Any]) -> None:
        self._service = service
        self.view = _made(JobView, told)

    def __repr__(self) -> str:
        view = self.view
        return f"<Job {view.id}: {view.what}, {view.state}, {view.passes} passes>"

    @property
    def id(self) -> str:
        return self.view.id

    @property
    def state(self) -> str:
        """Where it stands now."""
        return self.refresh().state

    def refresh(self) -> JobView:
        """See where it stands."""
        self.view = _made(JobView, self._service.ask("job", id=self.id))
        return self.view

    def watch(self) -> Iterator[JobView]:
        """Each change, from how it stands now until it has ended.

        It may be left at any time: the job goes on. A scheduler that is gone is waited for, for a
        minute.
        """
        yield self.view
        while not _ended(self.view):
            version = self.view.version
            view = self._await_change()
            if view.version != version:
                yield view

    def wait(self, timeout: float | None = None) -> JobView:
        """Return when it has ended.

        A scheduler that is gone is waited for, for a minute.

        Raises
        ------
        TimeoutError
            If it has not within so many seconds.
        ClusterError
            If the scheduler does not come back.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        self._await_change(0.0, end - time.monotonic())
        while not _ended(self.view):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"job {self.id} is {self.view.state} after {timeout:g} s; it goes on, wait "
                    "again"
                )
            self._await_change(min(left, LONG), left)
        return self.view

    def trace(self, after: int = 0) -> list[PassView]:
        """Its passes, or those after the first ones."""
        return [_made(PassView, one) for one in self._service.ask("trace", id=self.id, after=after)]

    def marks(self) -> list[Mark]:
        """What befell it."""
        return [_made(Mark, one) for one in self._service.ask("marks", id=self.id)]

    def spec(self) -> dict[str, Any]:
        """Its specification, without what may be secret."""
        told: dict[str, Any] = self._service.ask("spec", id=self.id)
        return told

    def logs(self, last: int = 100) -> list[dict[str, Any]]:
        """The last lines of its log: ``time``, ``level``, ``text``, ``epoch``, ``worker``."""
        told: list[dict[str, Any]] = self._service.ask("logs", id=self.id, last=last)
        return told

    def cancel(self) -> JobView:
        """End it.

        Raises
        ------
        JobStateError
            If it has ended already.
        """
        return self._asked("cancel")

    def resume(self) -> JobView:
        """Let it go on from its checkpoint, after it failed or was cancelled."""
        return self._asked("resume")

    def delete(self) -> None:
        """Remove all that is kept of it; it has ended."""
        self._service.ask("delete", id=self.id)

    def result(self, timeout: float | None = None) -> Any:
        """The fitted estimator, when it is done.

        Raises
        ------
        JobError
            If it failed, with the last lines of its log; or makes no model.
        TimeoutError
            If it has not ended within so many seconds.
        """
        from dask_em.estimators.persistence import load

        with TemporaryDirectory(prefix="dask_em-") as folder:
            self._unpack(Path(folder, "model"), timeout)
            return load(Path(folder, "model"))

    def save_result(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model that it made to a path."""
        from dask_em.estimators.persistence import load

        with TemporaryDirectory(prefix="dask_em-") as folder:
            self._unpack(Path(folder, "model"), None)
            load(Path(folder, "model")).save(path, overwrite=overwrite)

    def _unpack(self, folder: Path, timeout: float | None) -> None:
        view = self.wait(timeout)
        if view.state == "failed":
            lines = "\n".join(str(line["text"]) for line in self.logs(LAST_LINES))
            raise JobError(f"job {self.id} failed: {view.error}\n{lines}")
        packed = self._service.ask("result", id=self.id)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)

    def _asked(self, what: str) -> JobView:
        self.view = _made(JobView, self._service.ask(what, id=self.id))
        return self.view

    def _await_change(self, timeout: float = LONG, patience: float = math.inf) -> JobView:
        """See where it stands once it has changed, or after some seconds.

        Parameters
        ----------
        timeout, patience : float
            Seconds to wait for a change, and for a scheduler that is gone.
        """

        def look() -> JobView:
            self._service.ask("changed", id=self.id, version=self.view.version, timeout=timeout)
            return self.refresh()

        return patiently(look, patience)


def _text(spec: Mapping[str, Any] | str | Path) -> str:
    if isinstance(spec, Mapping):
        return json.dumps(spec)
    if isinstance(spec, str) and spec.lstrip().startswith("{"):
        return spec
    try:
        return Path(spec).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the specification {os.fspath(spec)} cannot be read ({error}); `dask-em job init` "
            "writes one"
        ) from error


def _with_owner(text: str) -> str:
    """The specification with who asks, where it says nothing of that."""
    with suppress(ValueError):
        told = json.loads(text)
        if isinstance(told, dict) and not told.get("owner"):
            with suppress(OSError, KeyError, ImportError):
                return json.dumps({**told, "owner": getpass.getuser()})
    return text


def _made(kind: type[T], told: Mapping[str, Any]) -> T:
    """A record as it was told; what a newer service says of it beside is left out."""
    known = {field.name for field in fields(cast("Any", kind))}
    # in a message there are no tuples
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in told.items()
    }
    try:
        return kind(**{name: value for name, value in values.items() if name in known})
    except TypeError as error:
        raise ClusterError(
            f"the job service is of an older dask_em than this one ({error}); install the same "
            "version here and there"
        ) from error


def _ended(view: JobView) -> bool:
    return view.state in ("done", "failed", "cancelled")
