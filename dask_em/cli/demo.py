"""`dask-em demo`: the whole way on data that are at hand, larger than the memory they get."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dask_em.cli.cluster import connected, peak_memory
from dask_em.cli.options import JSON, Cluster, Overwrite, Selected, byte_count
from dask_em.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_em.cli.live import Progress
    from dask_em.estimators.gaussian_mixture import GaussianMixture

__all__ = ["demo"]


@dataclass(frozen=True)
class Folder:
    """What the demo leaves."""

    path: Path

    @property
    def pixels(self) -> Path:
        return self.path / "photographs.zarr"

    @property
    def model(self) -> Path:
        return self.path / "model.zarr"

    @property
    def labels(self) -> Path:
        return self.path / "labels.zarr"

    @property
    def picture(self) -> Path:
        return self.path / "segmentation.png"

    def prepare(self, overwrite: bool) -> None:
        """Make the folder; what an earlier demo left there is removed or refused.

        Raises
        ------
        ArchiveError
            If it is there and may not be replaced, or cannot be made.
        """
        left = [self.pixels, self.model, self.labels, self.picture]
        if self.path.exists() and not overwrite and any(path.exists() for path in left):
            raise ArchiveError(
                f"{self.path} holds an earlier demo; pass --overwrite to replace it, or --out for "
                "another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for path in left:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise ArchiveError(
                f"{self.path} cannot be written ({error}); choose another --out"
            ) from error


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what it makes.")] = Path(
        "dask-em-demo"
    ),
    size: Annotated[str, typer.Option(metavar="BYTES", help="Rows to make, decoded.")] = "2GB",
    components: Annotated[int, typer.Option("--components", "-k", min=2)] = 8,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    memory: Annotated[
        str, typer.Option(metavar="BYTES", help="Memory limit of each worker.")
    ] = "600MB",
    keep: Annotated[
        bool, typer.Option("--keep/--discard", help="Whether the store of pixels stays.")
    ] = True,
    overwrite: Overwrite = False,
    as_json: JSON = False,
) -> None:
    """Fit a mixture to photographs, in a store larger than the memory that it gets.

    The two photographs that come with scikit-learn become rows of colour and position, tiled to
    a Zarr store. A Gaussian mixture is fitted to it on a local Dask cluster, and its labels make
    a segmented picture. Nothing is downloaded.
    """
    nbytes = byte_count(size)
    cluster = Cluster.parse(None, workers, memory, 1)
    folder = Folder(out)
    folder.prepare(overwrite)

    from dask_em.cli.live import show_progress
    from dask_em.cli.text import print_json, progress_console

    begin = time.perf_counter()
    with show_progress(progress_console()) as progress:
        _write(folder, nbytes, progress)
        model, peak = _fit_and_predict(folder, components, cluster, progress)
    _draw(folder, model)
    if not keep:
        shutil.rmtree(folder.pixels)
    seconds = time.perf_counter() - begin
    if as_json:
        print_json(_document(folder, model, peak, seconds))
    else:
        _tell(folder, model, peak, seconds, cluster, keep)


def _write(folder: Folder, nbytes: int, progress: Progress) -> None:
    from dask_em.cli.photographs import n_tiles, panorama, write_tiles

    image = panorama()
    tiles = n_tiles(image, nbytes)
    begin = time.perf_counter()
    progress.begin("write", 0, tiles)
    with _room(folder.path):
        write_tiles(folder.pixels, image, tiles, progress.advance)
    progress.say(f"wrote {folder.pixels}: {tiles} tiles in {time.perf_counter() - begin:.1f} s")


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"{folder} cannot be written ({error}); free some space, ask for less with --size, or "
            "choose another --out"
        ) from error


def _fit_and_predict(
    folder: Folder, components: int, cluster: Cluster, progress: Progress
) -> tuple[GaussianMixture, int | None]:
    from dask_em.cli.fit import fit_on
    from dask_em.estimators.gaussian_mixture import GaussianMixture

    everything = Selected(None, None, None)
    model = GaussianMixture(components, random_state=0, max_iter=30, tol=1e-2)
    with connected(cluster, progress.say) as client:
        fit_on(client, model, everything.open(folder.pixels), everything, progress)
        model.save(folder.model)
        model.write_predictions(folder.pixels, folder.labels, client=client, monitor=progress)
        return model, None if client is None else peak_memory(client)


def _draw(folder: Folder, model: GaussianMixture) -> None:
    import zarr

    from dask_em.cli.photographs import panorama
    from dask_em.cli.picture import save_picture

    labels: Any = zarr.open_array(folder.labels, path="class", mode="r")
    k, passes = len(model.weights_), model.n_iter_
    save_picture(
        folder.picture,
        panorama(),
        labels[0],
        model.means_[:, :3],
        model.weights_,
        f"{k} Gaussians in colour and position, after {passes} passes over "
        f"{labels.size / 1e6:,.0f} million pixels; each has its mean colour and its share below",
    )


def _document(
    folder: Folder, model: GaussianMixture, peak: int | None, seconds: float
) -> dict[str, Any]:
    from dask_em.cli.results import passes_document

    return {
        "data": str(folder.pixels),
        "model": str(folder.model),
        "labels": str(folder.labels),
        "picture": str(folder.picture),
        "outcome": model.outcome_.name.lower(),
        "log_likelihood_per_row": model.lower_bound_,
        "peak_worker_bytes": peak,
        "seconds": seconds,
        "passes": passes_document(model),
    }


def _tell(
    folder: Folder,
    model: GaussianMixture,
    peak: int | None,
    seconds: float,
    cluster: Cluster,
    keep: bool,
) -> None:
    from dask_em.cli.results import conclusion, effort

    print(f"{conclusion(model)}, {effort(seconds, peak, cluster.memory)}")
    print(f"model    {folder.model}")
    print(f"labels   {folder.labels}")
    print(f"picture  {folder.picture}")
    print(f"next: dask-em show {folder.model}")
    if keep:
        print(f"      dask-em inspect {folder.pixels}")
        print(
            f"      dask-em fit {folder.pixels} -k 16 --out {folder.path / 'finer.zarr'}"
            f"{cluster.flags()}"
        )
