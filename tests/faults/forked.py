"""Work in a process of its own, which may be killed before any change that it makes to files.

What forks must have started no threads; a script that begins with this has not.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["changes", "in_fork"]

#: what changes a file system; of "open" only that for writing
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def in_fork(work: Callable[[], Any]) -> str | None:
    """Do work in a process of its own: what it gave, as text, or None if it was killed."""
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(said)
        os.setpgid(0, 0)
        try:
            os.write(say, str(work()).encode())
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    os.close(say)
    with os.fdopen(said) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, "it crashed"
        return None
    assert not status, "what was forked failed"
    return text


def changes(work: Callable[[], Any], home: Path, last: int | None = None) -> int | None:
    """Do work in a process that is killed before a change of the files in a folder.

    How many changes it made, or None if it was killed. The number is not the same each time: where
    several threads make a folder, one may find what the other has made.
    """
    return None if (text := in_fork(lambda: _counted(work, home, last))) is None else int(text)


def _counted(work: Callable[[], Any], home: Path, last: int | None) -> int:
    # a thread takes a number at once, so that no other can take or miss it
    numbers = itertools.count(1)

    def watched(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and changed(event, arguments) and next(numbers) == last:
            os.killpg(0, signal.SIGKILL)

    def changed(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return False
        # what removes a folder names its entries without it
        bare = event in {"os.remove", "os.rmdir"} and not os.path.isabs(arguments[0])
        return bare or str(home) in str(arguments[0])

    sys.addaudithook(watched)
    work()
    return next(numbers) - 1
