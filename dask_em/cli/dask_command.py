"""`dask em`: the same commands below Dask's own."""

from __future__ import annotations

import click

__all__ = ["em"]


# Dask admits commands of click alone, and Typer's are their own: all words are handed on
@click.command(
    name="em",
    help="Mixtures and probabilistic PCA, for data larger than memory; as dask-em.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def em(words: tuple[str, ...]) -> None:
    """Run a command of `dask-em`."""
    from dask_em.cli.app import app

    app(args=list(words), prog_name="dask em")
