"""Draft: a specification made of options, complete, and the same wherever it is read."""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from dask_em.cli.jobs.specification import absolute
from dask_em.cli.options import Selected
from dask_em.cli.outcome import wrong_usage
from dask_em.errors import InputError

__all__ = ["Draft", "Turn"]

#: fields of a specification that stand before the others
FIRST = (
    "version", "task", "data", "mapping", "model", "candidates", "kind", "n_components",
    "covariance_type", "stopping", "output", "outputs",
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """Whose a job is, how urgent, and what people call it."""

    owner: str | None
    priority: int
    tags: list[str] | None

    def told(self) -> dict[str, Any]:
        """The fields of a specification."""
        owner = _me() if self.owner is None else self.owner
        return {"priority": self.priority, "owner": owner, "tags": self._pairs()}

    def _pairs(self) -> dict[str, str]:
        pairs = [text.partition("=") for text in self.tags or []]
        for name, separator, value in pairs:
            if not (name and separator):
                raise typer.BadParameter(f"--tag {name + separator + value!r} is not NAME=VALUE")
        return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class Draft:
    """A job that is to be written down."""

    data: str
    selected: Selected
    weights: str | None
    turn: Turn
    checkpoint: str | None = None

    def write(self, out: str | None, **fields: Any) -> None:
        """Write the specification, all fields with what they are, to a file or stdout.

        Raises
        ------
        typer.Exit
            If it would be none, or the file is there.
        """
        from dask_em.service.spec import parse

        told = {"version": 1, **fields, "data": self._data(), **self.turn.told()}
        told["checkpoint"] = None if self.checkpoint is None else absolute(self.checkpoint)
        try:
            job = parse(json.dumps(told))
        except InputError as error:
            raise wrong_usage(str(error)) from error
        _put(out, json.dumps(_ordered(job.model_dump(mode="json")), indent=2) + "\n")

    def _data(self) -> dict[str, Any]:
        selected = self.selected
        return {
            "url": absolute(self.data),
            "features": selected.features,
            "sample_dims": selected.sample_dims,
            "where": selected.where,
            "storage_options": selected.storage_options,
            **self._weights(),
        }

    def _weights(self) -> dict[str, str]:
        if self.weights is None:
            return {}
        # a name of the group or the table has no separator, and nothing is there
        is_path = os.sep in self.weights or Path(self.weights).exists()
        return {"sample_weight": absolute(self.weights) if is_path else self.weights}


def _ordered(told: dict[str, Any]) -> dict[str, Any]:
    """The same as people read it: what is done, to what, and with which model come first."""
    return {
        name: _ordered(told[name]) if isinstance(told[name], dict) else told[name]
        for name in sorted(told, key=lambda name: FIRST.index(name) if name in FIRST else 99)
    }


def _put(out: str | None, text: str) -> None:
    if out is None:
        print(text, end="")
        return
    try:
        with open(out, "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise wrong_usage(f"{out} is there already; remove it, or give another --out") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise wrong_usage(f"{out} cannot be written ({reason}); give another --out") from error
    print(f"wrote {out}")
    print(f"next: dask-em submit {out}")


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return ""
