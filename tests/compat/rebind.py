"""pytest plugin: scikit-learn's own tests see dask_em.GaussianMixture in place of theirs."""

import sklearn.mixture

import dask_em

sklearn.mixture.GaussianMixture = dask_em.GaussianMixture
