"""The covariance structures as objects: full, tied, diagonal, spherical."""

from __future__ import annotations

from dask_em.models.general import Full, Tied
from dask_em.models.structure import Structure
from dask_em.models.variances import Diagonal, Spherical

__all__ = ["STRUCTURES", "Diagonal", "Full", "Spherical", "Structure", "Tied"]

#: the structures by the names that scikit-learn gives them
STRUCTURES: dict[str, Structure] = {
    structure.name: structure for structure in (Full(), Tied(), Diagonal(), Spherical())
}
