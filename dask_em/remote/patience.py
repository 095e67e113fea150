"""Patience: a request that may be answered later is made again, then given up with an error.

The clients of object stores ask again too, each in its own way and one layer within the other:
s3fs in its defaults makes 25 tries of a throttled request in 45 seconds, and more than 125 of one
that is not answered, for half an hour. `remote.files` turns theirs off where that is possible.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dask_em.errors import SourceError
from dask_em.remote.remedies import refused
from dask_em.remote.secrets import unless_secret, without_secrets
from dask_em.remote.trouble import cause_of, is_passing

__all__ = ["patiently", "patiently_awaited"]

T = TypeVar("T")

#: a request is made at most so often, and not again when so many seconds have passed
TRIES, SECONDS = 5, 30.0
#: seconds of the first pause; each is twice as long as the one before, less up to half by chance
FIRST_PAUSE = 1.0

LATER = (
    "the store is overloaded or cannot be reached; try again later or with fewer workers, a fit "
    "with checkpoint= goes on from its last pass"
)


def patiently(call: Callable[[], T], url: str) -> T:
    """What a call returns; where that may help, it is made again after a pause.

    Parameters
    ----------
    call : callable
    url : str
        Of the object, for error messages.

    Raises
    ------
    SourceError
        If the store goes on to refuse or to be silent, or denies access.
    """
    tries = _Tries(url)
    while True:
        try:
            return call()
        except Exception as error:
            time.sleep(tries.pause_after(error))


async def patiently_awaited(call: Callable[[], Awaitable[T]], url: str) -> T:
    """As `patiently`, of a call that is awaited."""
    tries = _Tries(url)
    while True:
        try:
            return await call()
        except Exception as error:
            pause = tries.pause_after(error)
        await asyncio.sleep(pause)


@dataclass
class _Tries:
    """How often and how long a request was tried."""

    url: str
    begin: float = field(default_factory=time.monotonic)
    made: int = 0

    def pause_after(self, error: Exception) -> float:
        """Seconds until the next try; raises what the user is to see if there is none."""
        self.made += 1
        passed = time.monotonic() - self.begin
        if not is_passing(error):
            told = refused(error, self.url)
            if told is None:
                raise error
            raise told from unless_secret(error)
        if self.made >= TRIES or passed >= SECONDS:
            tries = "1 try" if self.made == 1 else f"{self.made} tries"
            raise SourceError(
                f"{without_secrets(self.url)} did not answer in {tries} of {passed:.0f} s in all "
                f"({cause_of(error)}); {LATER}"
            ) from unless_secret(error)
        # all at once they would be refused together again
        return FIRST_PAUSE * 2.0 ** (self.made - 1) * random.uniform(0.5, 1)  # noqa: S311
