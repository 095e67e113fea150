"""Settings come from Dask's configuration, and what cannot be is named."""

from __future__ import annotations

import dask
import pytest

from dask_em.errors import InputError
from dask_em.service.config import Settings


def test_they_come_from_dask(monkeypatch):
    monkeypatch.setenv("DASK_EM__MAX_RUNNING", "5")
    monkeypatch.setenv("DASK_EM__ROOTS", "/data, s3://bucket/em")
    with dask.config.set(dask.config.collect_env()):
        found = Settings.read(silence=3)
    assert (found.max_running, found.silence) == (5, 3.0)
    assert found.roots == ("/data", "s3://bucket/em")
    with dask.config.set({"em.keep-jobs": 7}):
        assert Settings.read().keep_jobs == 7


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_runing": 1}, "em.max_runing is not known; did you mean 'max_running'"),
        ({"max_running": 0}, "em.max_running is 0: .*greater than or equal to 1"),
        ({"silence": float("inf")}, "em.silence is inf: .*finite"),
        ({"roots": 3}, "em.roots is 3"),
        ({"roots": ["/data", ""]}, "em.roots.1 is '': .*at least 1 character"),
    ],
)
def test_what_cannot_be_is_named(given, words):
    with pytest.raises(InputError, match=words):
        Settings.read(**given)


def test_an_empty_root_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # as which it would pass
    for given in ("/data,", "/data, ,"):
        assert Settings.read(roots=given).roots == ("/data",)
    assert Settings.read(roots="").roots == ()


def test_a_token_is_not_shown():
    assert "sesame" not in repr(Settings(token="open sesame"))
    with pytest.raises(InputError) as caught:
        Settings.read(token="sesame")
    assert "sesame" not in str(caught.value)
    assert "at least 8 characters" in str(caught.value)


def test_a_token_from_a_file_or_a_number():
    assert Settings.read(token="open sesame\n").token == "open sesame"
    with pytest.raises(InputError, match="quote what looks like a number") as caught:
        Settings.read(token=1234567890)  # what Dask makes of DASK_EM__TOKEN=1234567890
    assert "1234567890" not in str(caught.value)
    with pytest.raises(InputError, match="at least 8 characters"):
        Settings.read(token="       x\n")


def test_nothing_between_commas_is_nothing():
    """An empty root would be the folder that the scheduler was started in."""
    assert Settings.read(roots="").roots == ()
    assert Settings.read(roots="/a, ,/b,").roots == ("/a", "/b")
