"""One storage library each: NumPy arrays, dask arrays, Zarr."""
