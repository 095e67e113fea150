"""Secrets of URLs and options are shown neither in messages nor in tracebacks."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from dask_em import SourceError, open_source
from dask_em.remote.secrets import unless_secret, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/x.zarr", "s3://bucket/x.zarr"),
        ("ftp://me:hidden@host/x.zarr", "ftp://***@host/x.zarr"),
        (
            "https://host/x?X-Amz-Signature=hidden&part=3",
            "https://host/x?X-Amz-Signature=***&part=3",
        ),
        ("https://host/x?part=3&sig=hidden", "https://host/x?part=3&sig=***"),
        ("https://host/x?token=hidden", "https://host/x?token=***"),
        ("https://h/x?X-Amz-Credential=hidden%2Fus", "https://h/x?X-Amz-Credential=***"),
        ("https://h/x?X-Amz-Security-Token=hidden", "https://h/x?X-Amz-Security-Token=***"),
        (
            "two: gs://a:hidden@b/x and az://c/y?SIG=hidden)",
            "two: gs://***@b/x and az://c/y?SIG=***)",
        ),
        ("/a path/with?question=marks@home", "/a path/with?question=marks@home"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_values_of_options_are_left_out_wherever_they_are() -> None:
    options = {"secret": "hidden-one", "client_kwargs": {"aws_session_token": "hidden-two"}}
    text = "Error: hidden-one and hidden-two at s3://bucket"
    assert without_secrets(text, options) == "Error: *** and *** at s3://bucket"


def chained(*texts: str) -> Exception:
    error: Exception | None = None
    for text in texts:
        made = OSError(text)
        made.__cause__, error = error, made
    assert error is not None
    return error


def test_an_error_is_another_ones_cause_without_its_secret() -> None:
    plain = chained("https://host/x?part=3", "refused")
    assert unless_secret(plain) is plain
    for error in (
        chained("https://host/x?sig=hidden", "refused"),
        chained("refused", "https://host/x?sig=hidden"),
    ):
        cause = unless_secret(error)
        assert type(cause) is OSError
        assert str(cause) == str(error).replace("hidden", "***").join(("OSError: ", ""))
        assert cause.__cause__ is cause.__context__ is None
    for kind in (FileNotFoundError, ImportError, TypeError, ValueError, UnicodeError):
        cause = unless_secret(kind("https://host/x?sig=hidden"))
        assert isinstance(cause, kind.__mro__[1] if kind is UnicodeError else kind)
        assert "hidden" not in str(cause)
    loop = chained("one", "two")
    loop.__cause__.__cause__ = loop  # type: ignore[union-attr]
    assert unless_secret(loop) is loop


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that denies everything."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["x.zarr", "x.parquet", "x.nc", "x"])
def test_no_traceback_shows_the_secret_of_a_url(refusing: str, name: str) -> None:
    pytest.importorskip("aiohttp")
    pytest.importorskip("pyarrow")
    for url in (f"http://me:hidden-one@{refusing}/{name}", f"http://{refusing}/{name}?sig=hidden"):
        with pytest.raises(SourceError) as no:
            open_source(url)
        assert "hidden" not in "".join(traceback.format_exception(no.value))
