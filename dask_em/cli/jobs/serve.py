"""`dask-em serve`: a scheduler with the job service on this machine."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.jobs.specification import absolute
from dask_em.cli.options import JSON, Memory, Threads, byte_count
from dask_em.cli.outcome import say, wrong_usage

if TYPE_CHECKING:
    from dask_em.cli.jobs.local import LocalService

__all__ = ["serve"]

#: characters of a token
SHORTEST = 8


def serve(
    store: Annotated[
        str, typer.Option(metavar="PATH", help="Folder or URL in which all jobs are kept.")
    ] = "dask-em-jobs",
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worker processes.", show_default="one per core"),
    ] = None,
    threads: Threads = 1,
    memory: Memory = None,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where the scheduler listens; 0 for any port.")
    ] = 8786,
    dashboard_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where the page and REST are; 0 for any port.")
    ] = 8787,
    max_running: Annotated[
        int, typer.Option(min=1, metavar="N", help="Jobs that run at a time; others are queued.")
    ] = 2,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Folder or URL in which jobs may read and write. May be repeated.",
            show_default="anywhere",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the page and REST ask for is in this file."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Start a scheduler with the job service, and workers, on this machine alone.

    It runs until Ctrl-C or SIGTERM. Jobs that run then go on at the next serve with that store.
    """
    settings: dict[str, Any] = {"store": absolute(store), "max_running": max_running}
    if root:
        settings["roots"] = tuple(map(absolute, root))
    if token_file is not None:
        settings["token"] = _token(token_file)
    limit = None if memory is None else byte_count(memory)

    from dask.system import CPU_COUNT

    from dask_em.cli.jobs.local import served

    n_workers = workers or CPU_COUNT
    with (
        _until_ended() as ended,
        served(settings, n_workers, threads, limit, (port, dashboard_port)) as local,
    ):
        _tell(local, settings, n_workers, threads, as_json)
        ended.wait()
        say("ending; jobs that run go on at the next serve")


@contextmanager
def _until_ended() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second one ends as it always does."""
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        ended.set()

    for number in before:
        signal.signal(number, end)
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(
    local: LocalService, settings: dict[str, Any], n_workers: int, threads: int, as_json: bool
) -> None:
    from dask_em.cli.text import plural, print_json

    told = {
        "scheduler": local.scheduler,
        "page": local.page,
        "rest": local.rest,
        "store": settings["store"],
    }
    if as_json:
        print_json(told)
    else:
        for subject, words in told.items():
            print(f"{subject:<9} {words}")
        print(f"{'workers':<9} {n_workers} with {plural(threads, 'thread')} each")
        print(f"next: dask-em submit job.json --scheduler {local.scheduler}")
        print("      Ctrl-C ends it; jobs that run go on at the next serve")
    sys.stdout.flush()


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise wrong_usage(f"--token-file {path} cannot be read ({reason})") from error
    if len(token) < SHORTEST:
        raise wrong_usage(
            f"--token-file {path} holds {len(token)} characters, a token has at least {SHORTEST}"
        )
    return token
