"""``python -m dask_em.cli`` is `dask-em`."""

from __future__ import annotations

from dask_em.cli import main

if __name__ == "__main__":
    main()
