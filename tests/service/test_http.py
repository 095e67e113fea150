"""Jobs over HTTP: what is asked for is given."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_em.service.http.answers import as_json
from dask_em.service.http.table import ROOT
from dask_em.service.spec import json_schema
from dask_em.service.store import MODEL
from tests.service.office import FIT
from tests.service.served import Served, served

JOBS = f"{ROOT}/jobs"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


def test_a_job_is_submitted_shown_cancelled_resumed_and_deleted(server: Served) -> None:
    reply = server.ask("POST", JOBS, {**FIT, "owner": "grace"})
    assert reply.status == 202
    where = reply.headers["Location"]
    assert where == f"{JOBS}/{reply.json()['id']}"
    assert server.ask("GET", where).json()["token"] == reply.json()["token"]
    told = server.ask("GET", f"{where}/spec").json()
    assert (told["owner"], told["data"]["url"]) == ("grace", "/data/rows.zarr")
    cancelled = server.ask("POST", f"{where}/cancel")
    assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
    resumed = server.ask("POST", f"{where}/resume", {})
    assert (resumed.status, resumed.json()["state"]) == (200, "queued")
    assert server.ask("DELETE", where).status == 409
    server.ask("POST", f"{where}/cancel")
    deleted = server.ask("DELETE", where)
    assert (deleted.status, deleted.body) == (204, b"")
    assert server.ask("GET", where).status == 404


def test_the_same_key_is_the_same_job(server: Served) -> None:
    key = {"Idempotency-Key": "5f2c"}
    first = server.ask("POST", JOBS, FIT, headers=key)
    again = server.ask("POST", JOBS, FIT, headers=key)
    assert first.headers["Location"] == again.headers["Location"]
    other = server.ask("POST", JOBS, FIT, headers={"Idempotency-Key": "77"})
    assert other.headers["Location"] != first.headers["Location"]


def test_lists_are_newest_first_and_filtered(server: Served) -> None:
    old = server.service.add(owner="lovelace", state="done", tags={"run": "1"})
    new = server.service.add(owner="lovelace", state="queued")
    whole = [job["id"] for job in server.ask("GET", JOBS).json()]
    assert whole[:2] == [new.id, old.id]
    for query, ids in [
        ("owner=lovelace", [new.id, old.id]),
        ("owner=lovelace&state=done", [old.id]),
        ("tag=run", [old.id]),
        ("owner=nobody", []),
    ]:
        assert [job["id"] for job in server.ask("GET", f"{JOBS}?{query}").json()] == ids


def test_many_jobs_come_as_one_list(server: Served) -> None:
    for _ in range(120):
        server.service.add(owner="many")
    assert len(server.ask("GET", f"{JOBS}?owner=many").json()) == 120


def test_passes_marks_logs_and_the_model(server: Served) -> None:
    job = server.service.add(state="done")
    for _ in range(3):
        server.service.add_pass(job.id)
    where = f"{JOBS}/{job.id}"
    assert [one["number"] for one in server.ask("GET", f"{where}/trace").json()] == [1, 2, 3]
    after = server.ask("GET", f"{where}/trace?after=2").json()
    assert [(one["number"], one["seconds"], one["notes"]) for one in after] == [(3, 2.0, [])]
    server.service.say(job.id, "its worker died", mark="lost")
    assert server.ask("GET", f"{where}/marks").json()[0]["text"] == "its worker died"
    for number in range(200):
        server.service.say(job.id, f"line {number}")
    assert len(server.ask("GET", f"{where}/logs").json()) == 100
    assert server.ask("GET", f"{where}/logs?last=1").json()[0]["text"] == "line 199"
    folder = Path(server.service.store.inside(job.id, MODEL))
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    model = server.ask("GET", f"{where}/result")
    assert model.headers["Content-Type"] == "application/zip"
    assert model.headers["Content-Disposition"].endswith('.zip"')
    with zipfile.ZipFile(io.BytesIO(model.body)) as archive:
        assert archive.namelist() == ["zarr.json"]


def test_the_schema_of_specifications_is_served(server: Served) -> None:
    assert server.ask("GET", f"{ROOT}/schema").json() == json.loads(json.dumps(json_schema()))


def test_what_is_no_finite_number_is_null(server: Served) -> None:
    job = server.service.add()
    server.service.add_pass(job.id, objective=-math.inf, weights=(0.5, math.inf))
    told = server.ask("GET", f"{JOBS}/{job.id}").json()  # refuses NaN and Infinity
    assert told["objective"] is None
    assert told["weights"] == [0.5, None]
    assert server.ask("GET", f"{JOBS}/{job.id}/trace").json()[0]["objective"] is None
    assert server.ask("GET", JOBS).status == 200


def test_text_is_utf8_whatever_it_is() -> None:
    assert json.loads(as_json({"a": "Größe \ud800"})) == {"a": "Größe ?"}


def test_answers_are_not_kept_and_tell_nothing_of_the_server(server: Served) -> None:
    reply = server.ask("GET", JOBS, headers={"Origin": "http://evil.example"})
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in reply.headers
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_pages_of_dask_are_served_beside(server: Served) -> None:
    assert server.ask("GET", "/status").status == 200
    assert server.ask("GET", "/health").body == b"ok"


def test_installing_again_adds_nothing(server: Served) -> None:
    router = server.scheduler.http_application.default_router
    before = [type(rule.matcher) for rule in router.rules]
    server.again()
    assert [type(rule.matcher) for rule in router.rules] == before


def test_a_prefix_is_found_at_run_time() -> None:
    with served(http_prefix="/dask", settings={"token": "s3cret-token"}, dashboard=False) as found:
        held = {"Authorization": "Bearer s3cret-token"}
        assert found.ask("GET", f"/dask{JOBS}", headers=held).json() == []
        where = found.ask("POST", f"/dask{JOBS}", FIT, headers=held).headers["Location"]
        assert where.startswith(f"/dask{JOBS}/")
        assert found.ask("GET", where, headers=held).status == 200
        assert found.ask("GET", JOBS, headers=held).status == 404
        assert found.ask("GET", "/dask/health").status == 200
        document = found.ask("GET", f"/dask{ROOT}/openapi.json", headers=held).json()
        assert document["servers"] == [{"url": "/dask"}]
