"""`dask-em job validate` and `schema`: what may stand in a specification."""

from __future__ import annotations

from dask_em.cli.jobs.options import SpecFile
from dask_em.cli.jobs.specification import Specification
from dask_em.cli.options import JSON

__all__ = ["schema", "validate"]


def validate(file: SpecFile, as_json: JSON = False) -> None:
    """Say whether a file is a specification, and every fault if it is none (exit code 2).

    The token is short for all that decides what the job gives.
    """
    from dask_em.cli.text import print_json

    found = Specification.read(file)
    if as_json:
        print_json({"task": found.job.task, "token": found.token})
        return
    print(f"ok, a {found.job.task} with the token {found.token}")
    if file != "-":
        print(f"next: dask-em submit {file}")


def schema() -> None:
    """Print the JSON Schema of specifications, for editors and other programs."""
    from dask_em.cli.text import print_json
    from dask_em.service.spec import json_schema

    print_json(json_schema())
