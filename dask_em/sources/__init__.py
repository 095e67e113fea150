"""One storage library each: NumPy, dask, xarray, Zarr, Parquet; and what is done to all rows."""
