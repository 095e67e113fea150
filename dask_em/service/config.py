"""Settings of the job service, from Dask's own configuration: key ``em``, or DASK_EM__STORE etc."""

from __future__ import annotations

from typing import Annotated, Any

import dask
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from dask_em.core.names import nearest
from dask_em.errors import InputError
from dask_em.service.machine import Patience

__all__ = ["Settings"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: an empty name would be the folder in which the scheduler happens to run
Names = tuple[Annotated[str, Field(min_length=1)], ...]
#: files and pipes end what they hold with a line break, which no header can
Token = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]


class Settings(BaseModel):
    """How a service works. What it does not know it refuses.

    Parameters
    ----------
    store : str
        Path or URL of the folder in which all jobs are kept. The scheduler and all workers reach
        it under this name.
    store_options : dict
        What fsspec needs to open it.
    max_running : int
        Jobs that run at a time; the others wait for their turn.
    roots : tuple of str, or None
        Folders and URL prefixes in which jobs read and write; None for anywhere.
    token : str, or None
        Who asks over HTTP must show it.
    hosts : tuple of str
        Names by which the service may be called over HTTP, beside addresses and its own.
    open_paths : tuple of str
        HTTP paths that need no token. One that ends in ``*`` stands for all that begin so.
    check_data : bool
        Whether rows are opened when a job is submitted, so that one which cannot run is refused.
    heartbeat : float
        Seconds between two words of a driver.
    silence : float
        Seconds without a word after which a driver is lost.
    most_losses, first_pause, longest_pause
        See `Patience`.
    keep_jobs : int
        Jobs that have ended and are kept; of more the oldest go.
    keep_days : float
        How long they are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = "dask-em-jobs"
    store_options: dict[str, Any] = Field(default={}, repr=False)
    max_running: Annotated[int, Field(ge=1)] = 2
    roots: Names | None = None
    token: Token | None = Field(default=None, repr=False)
    hosts: Names = ()
    open_paths: Names = ()
    check_data: bool = True
    heartbeat: Seconds = 1.0
    silence: Seconds = 30.0
    most_losses: Annotated[int, Field(ge=0)] = 20
    first_pause: Seconds = 1.0
    longest_pause: Seconds = 300.0
    keep_jobs: Annotated[int, Field(ge=1)] = 1000
    keep_days: Seconds = 90.0

    @field_validator("roots", "hosts", "open_paths", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Lists come from files, and texts with commas from the environment."""
        if not isinstance(given, str):
            return given
        return [one.strip() for one in given.split(",") if one.strip()]

    @classmethod
    def read(cls, **given: Any) -> Settings:
        """The settings that Dask's configuration has, with others given.

        Raises
        ------
        InputError
            Which names each that cannot be.
        """
        configured = dask.config.get("em", {}) or {}
        known = {name.replace("-", "_"): value for name, value in configured.items()}
        try:
            return cls.model_validate({**known, **given})
        except ValidationError as error:
            faults = "; ".join(_words(fault) for fault in error.errors(include_url=False))
            raise InputError(f"the settings of the job service do not fit: {faults}") from None

    @property
    def patience(self) -> Patience:
        return Patience(self.most_losses, self.first_pause, self.longest_pause)


def _words(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"em.{name} is not known; {nearest(name, sorted(Settings.model_fields))}"
    if name == "token":
        remedy = "; quote what looks like a number" if fault["type"] == "string_type" else ""
        return f"em.token: {fault['msg'].lower()}{remedy}"
    return f"em.{name} is {fault['input']!r}: {fault['msg'].lower()}"
