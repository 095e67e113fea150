"""The `dask-em` command: parse, call, print."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    from dask_em.cli.app import app

    app(prog_name="dask-em")
