"""The `dask-em` command: parse, call, print."""

from __future__ import annotations

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where somebody closed it
        sys.stdout.reconfigure(errors="replace")  # curves and names on terminals of few letters
    try:
        from dask_em.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)  # as a command that is interrupted
    app(prog_name="dask-em")
