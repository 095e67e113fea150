"""Inspection: what is looked at before a job is taken on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dask_em.errors import AccessError, DaskEmError, InputError
from dask_em.remote.secrets import without_secrets
from dask_em.remote.trouble import cause_of
from dask_em.service.config import Settings
from dask_em.service.roots import check_places
from dask_em.service.spec import Fit, Predict, Sweep

__all__ = ["Inspection"]

logger = logging.getLogger("dask_em.service")

#: that somebody who submits a job is kept waiting
CHECK_SECONDS = 10.0


class Inspection:
    """Looks at what specifications name, in threads: that may take its time.

    Parameters
    ----------
    settings : Settings
    rehearse : callable
        ``rehearse(spec)`` opens what a specification names, reads no rows, and raises what a
        driver would raise.
    """

    def __init__(
        self, settings: Settings, rehearse: Callable[[Fit | Sweep | Predict], None]
    ) -> None:
        self._settings, self._rehearse = settings, rehearse
        # of its own: what does not answer must not hold up the store, nor other looks at paths
        self._threads = ThreadPoolExecutor(4, "dask-em-look")

    def close(self) -> None:
        """Look at nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, spec: Fit | Sweep | Predict) -> None:
        """Refuse a job that cannot run; one whose rows do not answer is left to its driver.

        Raises
        ------
        InputError, SourceError, ArchiveError, AccessError
        """
        try:
            await self._check_places(spec)
            if self._settings.check_data:
                loop = asyncio.get_running_loop()
                looking = loop.run_in_executor(self._threads, self._rehearse, spec)
                await asyncio.wait_for(looking, CHECK_SECONDS)
        except TimeoutError:
            logger.warning("rows were not opened within %g s, a driver will see", CHECK_SECONDS)
        except DaskEmError:
            raise
        except Exception as error:  # of a library, about a parameter or a path
            told = str(error) if isinstance(error, ValueError) else cause_of(error)
            raise InputError(without_secrets(told, spec.data.storage_options)) from error

    async def _check_places(self, spec: Fit | Sweep | Predict) -> None:
        looking = asyncio.to_thread(check_places, spec, self._settings.roots)
        try:
            await asyncio.wait_for(looking, CHECK_SECONDS)
        except TimeoutError:
            raise AccessError(
                f"it was not seen within {CHECK_SECONDS:g} s whether all paths lie inside of what "
                "this service reads and writes; give a pattern of fewer files"
            ) from None
