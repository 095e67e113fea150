"""Throughput of passes over an S3 store on loopback, with and without latency.

    python -m tests.benchmarks.objectstore                  512 MB in chunks of 8 MB, 0 and 50 ms
    python -m tests.benchmarks.objectstore --reads 1 2 4 8  by how many chunks are asked for at once
    python -m tests.benchmarks.objectstore --obstore        the same store through obstore

The server is a static one of asyncio in a process of its own, which answers GET alone: moto's
would be slower than what it serves. A pass is one of a Gaussian mixture on 2 threads; `read` is a
pass that computes nothing.
"""

from __future__ import annotations

import argparse
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import asyncio
import multiprocessing
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dask_em import Gaussian, Mixture, Stopping, open_source
from dask_em.core.block import Block
from dask_em.engine import ahead
from dask_em.engine.fit import fit
from dask_em.engine.plan import Plan, Resources
from dask_em.engine.stream import Reading, stream
from dask_em.models.seeding import KMeans
from tests.benchmarks.stores import planted_store

THREADS = 2


def serve(folder: str, latency: float, port: Any) -> None:
    """Answer ``GET /bucket/key`` with a file of the folder."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                ranged = re.search(rb"(?i)range: *bytes=(\d+)-(\d*)", head)
                _, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                await asyncio.sleep(latency)
                await answer(
                    Path(folder, target.partition("?")[0].split("/", 2)[2]), ranged, writer
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(path: Path, ranged: Any, writer: asyncio.StreamWriter) -> None:
        if not path.is_file():
            body = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = int(ranged[1]) if ranged else 0
            end = min(size, int(ranged[2]) + 1) if ranged and ranged[2] else size
            writer.write(b"HTTP/1.1 206 Partial Content\r\n" if ranged else b"HTTP/1.1 200 OK\r\n")
            if ranged:
                writer.write(b"Content-Range: bytes %d-%d/%d\r\n" % (begin, end - 1, size))
            writer.write(b'ETag: "0"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n')
            writer.write(b"Content-Length: %d\r\n\r\n" % (end - begin))
            await asyncio.get_running_loop().sendfile(writer.transport, file, begin, end - begin)

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def server(folder: Path, latency: float) -> Iterator[str]:
    """The endpoint of a server of a folder, as long as the context lasts."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(str(folder), latency, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def opened(endpoint: str, through: str) -> Any:
    """The store behind an endpoint, or the local one without."""
    options = {"key": "any", "secret": "any", "client_kwargs": {"endpoint_url": endpoint}}
    if through == "s3fs":
        return open_source("s3://bucket/x.zarr", storage_options=options)
    import zarr
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    store = S3Store("bucket", prefix="x.zarr", endpoint=endpoint, access_key_id="any",
                    secret_access_key="any", region="us-east-1", virtual_hosted_style_request=False,
                    client_options={"allow_http": True})  # fmt: skip
    return open_source(zarr.open_array(ObjectStore(store, read_only=True), mode="r"))


def passing(source: Any, start: Any, mixture: Any) -> float:
    """Seconds of a pass."""
    fitted = fit(mixture, source, start=start, stopping=Stopping(0, 2), algorithm="em")
    return min(record.seconds for record in fitted.history)


def reading(source: Any) -> float:
    """Seconds of reading all, in as many threads as a pass."""
    from concurrent.futures import ThreadPoolExecutor

    tasks = Plan.make(source, Resources(THREADS, THREADS, None)).partitions(source)
    begin = time.perf_counter()

    def read(leaves: Any) -> int:
        return sum(len(piece.block) for _, piece in stream(leaves, Reading(source.schema)))

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(read, tasks)) == source.schema.n_rows
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--chunk", type=int, default=8, help="MB")
    parser.add_argument("--latency", type=float, default=50, help="ms")
    parser.add_argument("--reads", type=int, nargs="*", default=[0], help="0: as it is set")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--components", type=int, default=8)
    parser.add_argument("--obstore", action="store_true")
    options = parser.parse_args()
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as folder:
        path = planted_store(Path(folder, "x.zarr"), options.megabytes << 20,
                             chunk_bytes=options.chunk << 20)  # fmt: skip
        import zarr

        first = np.asarray(zarr.open_array(path)[:20_000], float)
        mixture = Mixture(Gaussian(), options.components, KMeans())
        start = mixture.initialize(Block(first), np.random.default_rng(0))
        for through in ("s3fs", "obstore") if options.obstore else ("s3fs",):
            for reads in options.reads:
                if reads:
                    ahead.MOST_READS, ahead.REMOTE_BYTES = reads, 1 << 40
                # in turns, so that what else the machine does meets both
                with (
                    server(Path(folder), 0) as near,
                    server(Path(folder), options.latency / 1000) as far,
                ):
                    sources = [opened(endpoint, through) for endpoint in (near, far)]
                    print(f"{through}, {sources[0].reads_at_once} reads at once")
                    compare("read", sources, reading, options)
                    compare("pass", sources, lambda one: passing(one, start, mixture), options)


def compare(what: str, sources: list[Any], seconds: Any, options: Any) -> None:
    taken = np.array([[seconds(one) for one in sources] for _ in range(options.passes)])
    near, far = sources[0].schema.nbytes / np.median(taken, axis=0) / 1e6
    share = np.median(taken[:, 0] / taken[:, 1])
    print(f"  {what} {near:5.0f} MB/s, with {options.latency:.0f} ms {far:5.0f} MB/s: {share:4.0%}",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
