"""The estimator that the options of a command describe."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from dask_em.cli.model_options import Kind

if TYPE_CHECKING:
    from dask_em.estimators.gaussian_mixture import GaussianMixture
    from dask_em.estimators.ppca import PPCA

__all__ = ["Estimator", "asked_for", "chosen", "latent_dims", "written"]

Estimator: TypeAlias = "GaussianMixture | PPCA"

# parameters of the commands, by what the estimators call them
BOTH = {
    "tol": "tol",
    "max_iter": "max_iter",
    "algorithm": "algorithm",
    "tol_gap": "tol_gap",
    "init_sample": "init_sample",
    "seed": "random_state",
    "missing": "missing",
    "on_bad_chunk": "on_bad_chunk",
}
ALONE = {
    Kind.gmm: {
        "components": "n_components",
        "covariance": "covariance_type",
        "n_init": "n_init",
        "init": "init_params",
        "reg_covar": "reg_covar",
        "degenerate": "degenerate",
    },
    Kind.ppca: {"latent_dims": "n_components", "solver": "solver"},
}


def asked_for(context: typer.Context, kind: Kind, **options: Any) -> Estimator:
    """The estimator that options describe; what is None is as the estimator has it.

    Parameters and errors are those of `chosen`.
    """
    parameters = chosen(context, kind, **options)
    if kind is Kind.gmm:
        from dask_em.estimators.gaussian_mixture import GaussianMixture

        return GaussianMixture(**parameters)
    from dask_em.estimators.ppca import PPCA

    return PPCA(**parameters)


def chosen(context: typer.Context, kind: Kind, **options: Any) -> dict[str, Any]:
    """The parameters of an estimator that options give; without those that are None.

    Parameters
    ----------
    context : typer.Context
        Of the command: it knows which options were written.
    **options
        The parameters of the command that say what the model is, by their names there.

    Raises
    ------
    typer.BadParameter
        If an option belongs to another model, or what makes out the model was not said.
    """
    _check(context, kind, options)
    known = BOTH | ALONE[kind]
    parameters = {
        known[name]: value.value if isinstance(value, Enum) else value
        for name, value in options.items()
        if name in known and value is not None
    }
    if kind is Kind.ppca:
        parameters["n_components"] = latent_dims(options["latent_dims"])
    return parameters


def latent_dims(text: str) -> int | float | str:
    """Latent dimensions: a number, a fraction of the variance, or ``"bic"``.

    Raises
    ------
    typer.BadParameter
        If the text is neither.
    """
    if text == "bic":
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if text.isdecimal() and number >= 1:
        return int(text)
    if 0 < number < 1:
        return number
    raise typer.BadParameter(
        f"-q {text!r} is no number of latent dimensions; write a number of 1 or more, a fraction "
        "of the variance above 0 and below 1, e.g. 0.95, or bic"
    )


def written(context: typer.Context, names: Sequence[str]) -> str:
    """Options as they were written, with a space before; empty if there are none."""
    return "".join(
        f" {_flag(context, name)} {context.params[name]}"
        for name in names
        if _is_written(context, name)
    )


def _check(context: typer.Context, kind: Kind, options: dict[str, Any]) -> None:
    for other, names in ALONE.items():
        foreign = [_flag(context, name) for name in names if _is_written(context, name)]
        if other is not kind and foreign:
            verb = "is an option" if len(foreign) == 1 else "are options"
            raise typer.BadParameter(
                f"{', '.join(foreign)} {verb} of --model {other}, but the model is {kind}; leave "
                f"out what does not belong to it, or pass --model {other}"
            )
    if kind is Kind.gmm and options["components"] is None:
        raise typer.BadParameter(
            "a mixture needs a number of components; pass -k, e.g. -k 8, or --model ppca and -q"
        )
    if kind is Kind.ppca and options["latent_dims"] is None:
        raise typer.BadParameter(
            "a PPCA needs a number of latent dimensions; pass -q, e.g. -q 10, -q 0.95 or -q bic"
        )
    if kind is Kind.gmm and options["missing"] == "model":
        raise typer.BadParameter(
            "--missing model uses what is observed of rows with NaN, but a mixture needs whole "
            "rows; pass --missing drop to leave such rows out, or --model ppca"
        )


def _is_written(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _flag(context: typer.Context, name: str) -> str:
    return next(one.opts[-1] for one in context.command.params if one.name == name)
