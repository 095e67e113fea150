from __future__ import annotations

import pytest

from dask_em.remote.secrets import without_secrets


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
