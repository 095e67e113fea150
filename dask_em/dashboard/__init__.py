"""The page "Em" in Dask's own dashboard, and its panels one by one.

Bokeh and the dashboard are imported when the page is installed, and may be missing.
"""

from __future__ import annotations

from dask_em.dashboard.install import install

__all__ = ["install"]
