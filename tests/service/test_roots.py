"""Roots: where jobs may read and write, whatever they write in their paths."""

from __future__ import annotations

import json
import os

import pytest

from dask_em.errors import AccessError, InputError
from dask_em.service import roots
from dask_em.service.roots import check_places
from dask_em.service.spec import parse
from tests.service.office import FIT


def check(url, roots, **more):
    check_places(parse(json.dumps({**FIT, "data": {"url": url}, **more})), roots)


@pytest.mark.parametrize(
    "url",
    [
        "/data/rows.zarr",
        "/data",
        "file:///data/x",
        "/data/a/../b",
        "s3://bucket/em/x",
        "s3://bucket/em",
    ],
)
def test_inside(url):
    check(url, ["/data", "s3://bucket/em/"])
    check(url, None)


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "/data/../etc/passwd",
        "/database/x",  # begins alike
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "local:///etc/passwd",
        "FILE:///etc/passwd",
        "s3://bucket/em/../other",
        "s3://bucket/em/%2e%2e/other",
        "s3://bucket/emother",
        "s3://other/em/x",
        "gs://bucket/em/x",
        "http://169.254.169.254/latest/meta-data",
        "simplecache::s3://bucket/em/x",
        "zip://x::file:///etc/secrets.zip",
        "memory://x",
        "reference:///data/x",
        ["/data/rows.zarr", "/etc/passwd"],
    ],
)
def test_outside(url):
    with pytest.raises((AccessError, InputError), match=r"outside of what this service|relative"):
        check(url, ["/data", "s3://bucket/em"])
    with pytest.raises((AccessError, InputError)):
        check(url, [])


def test_all_that_is_written_is_looked_at():
    roots = ["/data"]
    with pytest.raises(AccessError, match="^output is /etc/x"):
        check("/data/x", roots, output="/etc/x")
    with pytest.raises(AccessError, match="^checkpoint is /etc/x"):
        check("/data/x", roots, checkpoint="/etc/x")
    weighted = parse(json.dumps({**FIT, "data": {"url": "/data/x", "sample_weight": "/etc/w"}}))
    with pytest.raises(AccessError, match="^data.sample_weight is /etc/w"):
        check_places(weighted, roots)
    told = {"task": "predict", "data": {"url": "/data/x"}, "model": "/data/m", "outputs": {}}
    for field, wrong in (
        ("model", {"model": "/etc/m", "outputs": {"class": "/data/y"}}),
        ("outputs.score", {"outputs": {"class": "/data/y", "score": "/etc/y"}}),
        ("checkpoint", {"checkpoint": "/etc/c", "outputs": {"class": "/data/y"}}),
    ):
        with pytest.raises(AccessError, match=f"^{field} is /etc/"):
            check_places(parse(json.dumps({**told, **wrong})), roots)


def test_links_that_lead_out_are_followed(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "x").touch()
    (inside / "way").symlink_to(outside)
    check(str(inside / "x"), [str(inside)])
    with pytest.raises(AccessError):
        check(str(inside / "way" / "x"), [str(inside)])
    with pytest.raises(AccessError):
        check(str(inside / "w*" / "x"), [str(inside)])
    check(str(outside / "x"), [str(inside / "way")])  # a root may be one


def test_nothing_is_looked_for_outside(tmp_path, monkeypatch):
    def look(*_, **__):
        yield pytest.fail("it was looked for")

    monkeypatch.setattr(roots, "iglob", look)
    with pytest.raises(AccessError):
        check("/**/*.zarr", [str(tmp_path)])


def test_relative_paths_are_refused_with_the_absolute_one():
    with pytest.raises(InputError, match=f"perhaps {os.getcwd()}/rows.zarr"):
        check("rows.zarr", None)
