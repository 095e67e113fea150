"""Expectation-maximization on Dask: mixtures and PCA, fitted to data larger than memory.

Names are imported when they are first used, so that ``import dask_em`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_em.core.block import Block
    from dask_em.core.em import em
    from dask_em.core.model import Model
    from dask_em.core.stopping import Outcome, Stopping
    from dask_em.errors import (
        AccessError,
        ArchiveError,
        ChunkError,
        ClusterError,
        DaskEmError,
        DataError,
        DegenerateError,
        InputError,
        JobError,
        JobStateError,
        PlanError,
        SchemaError,
        SourceError,
        StatisticsError,
        UnknownJobError,
    )
    from dask_em.estimators.functional import fit
    from dask_em.estimators.gaussian_mixture import GaussianMixture
    from dask_em.estimators.persistence import load
    from dask_em.estimators.planning import plan
    from dask_em.estimators.ppca import PPCA
    from dask_em.estimators.sweep import sweep
    from dask_em.installation import install_service
    from dask_em.mapping.affine import Centre, Scale, Standardize
    from dask_em.mapping.anomaly import Anomaly
    from dask_em.mapping.groups import Groups
    from dask_em.mapping.log import Log
    from dask_em.mapping.row_mask import RowMask
    from dask_em.mapping.select import Select
    from dask_em.models.covariance import Diagonal, Full, Spherical, Tied
    from dask_em.models.emission import Emission, ExponentialFamily
    from dask_em.models.gaussian import Gaussian
    from dask_em.models.mixture import Mixture
    from dask_em.models.ppca_emission import PrincipalComponents
    from dask_em.service.client import job, jobs, submit
    from dask_em.sources.registry import open_source

    __version__: str

__all__ = [
    "PPCA",
    "AccessError",
    "Anomaly",
    "ArchiveError",
    "Block",
    "Centre",
    "ChunkError",
    "ClusterError",
    "DaskEmError",
    "DataError",
    "DegenerateError",
    "Diagonal",
    "Emission",
    "ExponentialFamily",
    "Full",
    "Gaussian",
    "GaussianMixture",
    "Groups",
    "InputError",
    "JobError",
    "JobStateError",
    "Log",
    "Mixture",
    "Model",
    "Outcome",
    "PlanError",
    "PrincipalComponents",
    "RowMask",
    "Scale",
    "SchemaError",
    "Select",
    "SourceError",
    "Spherical",
    "Standardize",
    "StatisticsError",
    "Stopping",
    "Tied",
    "UnknownJobError",
    "__version__",
    "em",
    "fit",
    "install_service",
    "job",
    "jobs",
    "load",
    "open_source",
    "plan",
    "submit",
    "sweep",
]

#: where each public name is defined
_HOMES = {
    "AccessError": "dask_em.errors",
    "ArchiveError": "dask_em.errors",
    "Block": "dask_em.core.block",
    "ChunkError": "dask_em.errors",
    "ClusterError": "dask_em.errors",
    "DaskEmError": "dask_em.errors",
    "DataError": "dask_em.errors",
    "DegenerateError": "dask_em.errors",
    "Diagonal": "dask_em.models.covariance",
    "Emission": "dask_em.models.emission",
    "ExponentialFamily": "dask_em.models.emission",
    "Full": "dask_em.models.covariance",
    "Gaussian": "dask_em.models.gaussian",
    "GaussianMixture": "dask_em.estimators.gaussian_mixture",
    "InputError": "dask_em.errors",
    "JobError": "dask_em.errors",
    "JobStateError": "dask_em.errors",
    "Mixture": "dask_em.models.mixture",
    "Model": "dask_em.core.model",
    "Outcome": "dask_em.core.stopping",
    "PPCA": "dask_em.estimators.ppca",
    "PlanError": "dask_em.errors",
    "PrincipalComponents": "dask_em.models.ppca_emission",
    "SchemaError": "dask_em.errors",
    "SourceError": "dask_em.errors",
    "Spherical": "dask_em.models.covariance",
    "StatisticsError": "dask_em.errors",
    "Stopping": "dask_em.core.stopping",
    "Tied": "dask_em.models.covariance",
    "UnknownJobError": "dask_em.errors",
    "em": "dask_em.core.em",
    "fit": "dask_em.estimators.functional",
    "install_service": "dask_em.installation",
    "job": "dask_em.service.client",
    "jobs": "dask_em.service.client",
    "load": "dask_em.estimators.persistence",
    "open_source": "dask_em.sources.registry",
    "plan": "dask_em.estimators.planning",
    "submit": "dask_em.service.client",
    "sweep": "dask_em.estimators.sweep",
    "Anomaly": "dask_em.mapping.anomaly",
    "Centre": "dask_em.mapping.affine",
    "Groups": "dask_em.mapping.groups",
    "Log": "dask_em.mapping.log",
    "RowMask": "dask_em.mapping.row_mask",
    "Scale": "dask_em.mapping.affine",
    "Select": "dask_em.mapping.select",
    "Standardize": "dask_em.mapping.affine",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dask_em")
    except PackageNotFoundError:  # run from a checkout
        return "0+unknown"
