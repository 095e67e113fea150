"""xarray: Datasets and DataArrays as rows, and answers that are labelled as they are."""
