"""scikit-learn manners over `dask_em.engine`: loose input becomes objects here, once."""
