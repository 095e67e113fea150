"""Buckets on the session's S3 server; their tests are skipped where moto or s3fs is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import zarr

from tests.objectstore import Proxy, proxied, s3_server

#: nothing of the machine's own settings may be found, and nothing outside asked
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
}


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own for a test, seen through the proxy."""

    proxy: Proxy
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """What fsspec needs, also on workers whose environment is that of another test.

        A request is given up after half a second.
        """
        return {
            "key": ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            "secret": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
            "client_kwargs": {"endpoint_url": self.proxy.url},
            "config_kwargs": {"read_timeout": 0.5},
        }

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def array(self, key: str, rows: np.ndarray, **options: Any) -> str:
        """Store rows in an array; its URL. What was asked for that is not counted."""
        zarr.create_array(self.store(key), data=rows, **options)
        self.proxy.count()
        return self.url(key)

    def store(self, key: str) -> Any:
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.url(key), storage_options=self.options)

    def keys(self, prefix: str = "") -> list[str]:
        """What is in the bucket."""
        import fsspec

        files = fsspec.filesystem("s3", **self.options)
        files.invalidate_cache()
        found = files.find(f"{self.name}/{prefix}")
        return [str(path).removeprefix(f"{self.name}/") for path in found]


@pytest.fixture(scope="session")
def s3_proxy() -> Iterator[Proxy]:
    pytest.importorskip("moto.server", reason="the S3 server of these tests is moto's")
    pytest.importorskip("s3fs", reason="S3 is reached through s3fs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        with s3_server() as server, proxied(server) as proxy:
            yield proxy


@pytest.fixture
def bucket(s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, short pauses between tries, no faults yet."""
    import fsspec

    for name, value in ENVIRONMENT.items():  # the session's may be those of another test
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("dask_em.remote.patience.FIRST_PAUSE", 0.001)
    s3_proxy.calm()
    made = Bucket(s3_proxy, f"bucket-{uuid4().hex[:12]}")
    fsspec.filesystem("s3", **made.options).mkdir(made.name)
    s3_proxy.count()
    yield made
    s3_proxy.calm()
