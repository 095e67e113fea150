"""Parquet datasets: rows of their row groups, and answers beside their columns."""
