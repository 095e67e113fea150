"""The page: what it shows, and that it sends no more than what changed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bokeh.document.events import ColumnsPatchedEvent, ColumnsStreamedEvent

from dask_em.dashboard.cells import FIELDS
from dask_em.dashboard.curve import MOST_OTHERS, LogLikelihood
from dask_em.dashboard.details import Counts, Details
from dask_em.dashboard.feed import MOST_JOBS, SKETCH_POINTS
from dask_em.dashboard.jobs import Jobs
from dask_em.dashboard.page import DOCUMENTS
from dask_em.dashboard.passes import MOST_POINTS
from dask_em.dashboard.seconds import SecondsPerPass
from dask_em.dashboard.weights import Weights
from tests.dashboard.opened import Host, Opened
from tests.dashboard.reports import BEGAN, Reports, a_pass


def column(page: Opened, name: str) -> list[Any]:
    return list(page.panel(Jobs).source.data[name])


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("jobs", [0, 2])
def test_every_document_can_be_sent(path: str, jobs: int, reports: Reports, host: Host) -> None:
    for i in range(jobs):
        reports.begin(f"j{i}", weights=(0.5, 0.5))
        reports.read(f"j{i}", 3)
    page = Opened(host, path)
    page.update()
    assert json.dumps(page.document.to_json(deferred=False))
    assert page.document.title.startswith("Dask: Em")


def test_missing_service_says_how_to_install_it() -> None:
    page = Opened(Host(None))
    assert page.board.notice.visible
    assert not page.board.content.visible
    assert "--preload dask_em.preload" in page.board.notice.text


def test_no_jobs_says_how_to_submit_one(host: Host) -> None:
    page = Opened(host)
    assert page.board.notice.visible
    assert not page.board.content.visible
    assert "dask-em submit job.json --scheduler tcp://10.0.0.1:8786" in page.board.notice.text


def test_first_job_takes_the_place_of_the_notice_and_back(reports: Reports, host: Host) -> None:
    page = Opened(host)
    reports.begin("a")
    page.update()
    assert not page.board.notice.visible
    assert page.board.content.visible
    del reports.views["a"]
    page.update()
    assert page.board.notice.visible
    assert not page.board.content.visible


def test_service_that_comes_later_is_seen(reports: Reports) -> None:
    host = Host(None)
    page = Opened(host)
    host.extensions["em"] = reports
    page.update()
    assert "No jobs yet" in page.board.notice.text


def test_nothing_is_sent_when_nothing_changed(reports: Reports, host: Host) -> None:
    reports.begin("a", weights=(0.5, 0.5))
    reports.read("a", 3)
    reports.begin("b", state="failed", error="x", objective=None)
    page = Opened(host)
    page.update()
    reports.asked.clear()
    assert page.update() == []
    assert reports.asked == []
    assert not page.board.watch.look()  # so the panels are not even asked


def test_age_grows_though_nothing_else_changes(
    reports: Reports, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [BEGAN + 30.0]
    monkeypatch.setattr("dask_em.dashboard.watch.time.time", lambda: now[0])
    reports.begin("a")
    page = Opened(host)
    assert column(page, "age") == ["now"]
    for later, said in ((70, "1 min"), (3 * 3600, "3 h"), (2 * 86400, "2 d")):
        now[0] = BEGAN + later
        (sent,) = page.update()
        assert sent.patches == {"age": [(0, said)]}


def test_a_pass_is_streamed_once_and_cells_are_patched(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.begin("b")
    reports.read("a", 3)
    reports.read("b", 3)
    page = Opened(host)
    page.update()
    reports.read("b")
    sent = page.update()
    assert {type(event) for event in sent} == {ColumnsPatchedEvent, ColumnsStreamedEvent}
    (streamed,) = (event for event in sent if isinstance(event, ColumnsStreamedEvent))
    assert streamed.data["number"] == [4]
    (patched,) = (event for event in sent if isinstance(event, ColumnsPatchedEvent))
    changed = {"passes", "objective", "rows_per_second", "note"}
    assert set(patched.patches) == changed
    assert {place for cells in patched.patches.values() for place, _ in cells} == {0}
    assert page.data()["number"].tolist() == [1, 2, 3, 4]


def test_tasks_of_the_pass_that_goes_on_send_one_cell(reports: Reports, host: Host) -> None:
    reports.begin("a", tasks=64)
    page = Opened(host)
    reports.change("a", tasks_done=12)
    (sent,) = page.update()
    assert sent.patches == {"tasks_done": [(0, 12)]}


def test_what_goes_on_stands_first(reports: Reports, host: Host) -> None:
    reports.begin("ended-first", state="done", ended=10.0)
    reports.begin("second-in-queue", state="queued", started=None, position=2)
    reports.begin("began-first", started=100.0)
    reports.begin("first-in-queue", state="queued", started=None, position=1)
    reports.begin("ended-last", state="failed", ended=20.0)
    reports.begin("began-last", started=200.0)
    page = Opened(host)
    assert column(page, "id") == [
        "began-last",
        "began-first",
        "first-in-queue",
        "second-in-queue",
        "ended-last",
        "ended-first",
    ]


def test_notes_say_what_is_waited_for_and_what_went_wrong(reports: Reports, host: Host) -> None:
    reports.begin("r", doing="pass 7")
    reports.begin("q", state="queued", position=1)
    reports.begin("p", state="queued", position=2, error="worker died", not_before=1.0)
    reports.begin("f", state="failed", error="Traceback\n  line\nChunkError: " + "x" * 1000)
    page = Opened(host)
    notes = dict(zip(column(page, "id"), column(page, "note"), strict=True))
    assert notes["r"] == "pass 7"
    assert notes["q"] == "number 1 in the queue"
    assert notes["p"].startswith("again from ")
    assert notes["p"].endswith(": worker died")
    assert notes["f"].startswith("ChunkError: xxx")
    assert len(notes["f"]) == 200


def test_the_job_that_began_last_is_shown_until_one_is_chosen(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a", 2)
    reports.begin("b")
    reports.read("b", 5)
    page, other = Opened(host), Opened(host)
    assert page.panel(Jobs).source.selected.indices == [0]
    assert "<b>b</b>" in page.panel(Details).div.text
    page.panel(Jobs).source.selected.indices = [1]  # as the browser says that it was clicked
    page.update()
    other.update()
    assert "<b>a</b>" in page.panel(Details).div.text
    assert page.data()["number"].tolist() == [1, 2]
    assert "<b>b</b>" in other.panel(Details).div.text
    reports.begin("c")
    for one in (page, other):
        one.update()
    assert page.panel(Jobs).source.selected.indices == [2]  # still the job that was chosen
    assert "<b>a</b>" in page.panel(Details).div.text
    assert "<b>c</b>" in other.panel(Details).div.text
    assert len(other.data()["number"]) == 0


def test_a_choice_taken_back_or_deleted_shows_the_default(reports: Reports, host: Host) -> None:
    reports.begin("a", state="done")
    reports.begin("b")
    page = Opened(host)
    selected = page.panel(Jobs).source.selected
    take_back, delete = (lambda: setattr(selected, "indices", [])), (lambda: reports.views.pop("a"))
    for forget in (take_back, delete):
        selected.indices = [1]
        page.update()
        assert "<b>a</b>" in page.panel(Details).div.text
        forget()
        page.update()
        assert "<b>b</b>" in page.panel(Details).div.text
        assert selected.indices == [0]


def test_where_none_runs_the_newest_is_shown(reports: Reports, host: Host) -> None:
    reports.begin("old", state="done", ended=9e9)
    reports.begin("new", state="cancelled", ended=1.0)
    page = Opened(host)
    assert "<b>new</b>" in page.panel(Details).div.text


def test_passes_without_a_log_likelihood(reports: Reports, host: Host) -> None:
    reports.begin("a")
    unknown = {"kind": "moments", "objective": None, "gain": None, "gap": None, "step": None}
    reports.read("a", **unknown)
    reports.mark("a", "lost", 0, "gone")
    page = Opened(host)
    curve = page.panel(LogLikelihood)
    assert np.isnan(page.data()["objective"]).all()
    assert curve.marks.data["objective"] == []
    assert math.isnan(column(page, "objective")[0])
    reports.read("a", objective=math.nan)
    reports.read("a")
    page.update()
    assert curve.marks.data["objective"] == [a_pass(3).objective]
    assert json.dumps(page.document.to_json(deferred=False))


def test_marks_stand_on_the_curve(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a", objective=None)
    reports.read("a", 9)
    for number in (0, 1, 5, 99):
        reports.mark("a", "repair", number, f"moved {number}")
    reports.mark("a", "of tomorrow", 3, "unknown kinds are shown too")
    page = Opened(host)
    curve = page.panel(LogLikelihood)
    expected = [a_pass(number).objective for number in (2, 2, 5, 10, 3)]
    assert curve.marks.data["objective"] == expected
    assert curve.figure.legend[0].visible
    told = {place: text for place, text in enumerate(page.data()["befell"]) if text}
    assert told[1] == "\nrepair: moved 0\nrepair: moved 1"
    assert told[9] == "\nrepair: moved 99"
    reports.read("a")
    page.update()
    assert page.data()["befell"][9:] == ["", "\nrepair: moved 99"]


def test_marks_of_one_job_leave_with_it(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a")
    reports.mark("a", "lost", 1, "gone")
    page = Opened(host)
    reports.begin("b")
    page.update()
    assert page.panel(LogLikelihood).marks.data["number"] == []
    assert not page.panel(LogLikelihood).figure.legend[0].visible


def test_other_jobs_on_the_same_data_come_first(reports: Reports, host: Host) -> None:
    for i in range(20):
        reports.begin(f"x{i}", data="other.zarr" if i > 12 else "rows.zarr")
        reports.read(f"x{i}", 300)
    reports.begin("shown", data="rows.zarr")
    others = Opened(host).panel(LogLikelihood).others.data
    assert others["id"] == [f"x{i}" for i in range(12, 12 - MOST_OTHERS, -1)]
    assert {len(numbers) for numbers in others["numbers"]} == {SKETCH_POINTS}
    assert all((numbers[0], numbers[-1]) == (1, 300) for numbers in others["numbers"])


def test_one_pass(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a")
    page = Opened(host)
    assert page.data()["number"].tolist() == [1]
    assert page.data()["width"].tolist() == [0.9]


def test_many_passes_are_thinned_and_go_on(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a", 5000)
    page = Opened(host)
    numbers = page.data()["number"]
    assert len(numbers) == MOST_POINTS
    assert (numbers[0], numbers[-1]) == (1, 5000)
    reports.read("a")
    page.update()
    numbers = page.data()["number"]
    assert len(numbers) == MOST_POINTS // 2
    assert (numbers[0], numbers[-1]) == (1, 5001)
    reports.read("a", 7)
    (streamed,) = (e for e in page.update() if isinstance(e, ColumnsStreamedEvent))
    assert streamed.data["number"] == list(range(5002, 5009))
    # bars reach as far as passes are left out
    assert page.data()["width"].sum() == pytest.approx(0.9 * 5008)


def test_bars_become_areas_where_they_would_blur(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a", 200)
    page = Opened(host)
    seconds, curve = page.panel(SecondsPerPass), page.panel(LogLikelihood)
    assert all(bar.visible for bar in seconds.bars)
    assert not any(area.visible for area in (*seconds.areas, seconds.edge))
    assert curve.points.visible
    reports.read("a")
    page.update()
    assert not any(bar.visible for bar in seconds.bars)
    assert all(area.visible for area in (*seconds.areas, seconds.edge))
    assert not curve.points.visible


def test_passes_that_no_longer_count_are_forgotten(reports: Reports, host: Host) -> None:
    reports.begin("a")
    reports.read("a", 9)
    page = Opened(host)
    del reports.traces["a"][6:]
    reports.change("a", state="queued", passes=6)
    page.update()
    assert page.data()["number"].tolist() == [1, 2, 3, 4, 5, 6]
    reports.traces["a"] += [replace(a_pass(n), ended=n + 0.5, seconds=99) for n in range(7, 12)]
    reports.change("a", state="running", passes=11)
    page.update()
    assert page.data()["seconds"].tolist()[6:] == [99] * 5
    # the same number again, of another driver
    reports.traces["a"][-1] = replace(a_pass(11), ended=0.0, seconds=1)
    reports.change("a")
    page.update()
    assert page.data()["seconds"].tolist()[-1] == 1


def test_three_hundred_jobs(reports: Reports, host: Host) -> None:
    for i in range(300):
        reports.begin(f"j{i}", state="done" if i < 280 else "running", ended=float(i))
    page = Opened(host)
    assert len(column(page, "id")) == 300
    assert "280 done" in page.panel(Counts).div.text
    assert "20 running" in page.panel(Counts).div.text
    reports.change("j7", state="failed", error="late")
    page.update()
    assert "279 done" in page.panel(Counts).div.text


def test_jobs_beyond_the_limit_are_counted(reports: Reports, host: Host) -> None:
    for i in range(MOST_JOBS + 3):
        reports.begin(f"j{i}", state="done", ended=float(i))
    page = Opened(host)
    assert len(column(page, "id")) == MOST_JOBS
    assert "j0" not in column(page, "id")
    assert "the 3 that ended longest ago" in page.panel(Counts).div.text


def test_weights_in_the_order_of_the_model(reports: Reports, host: Host) -> None:
    reports.begin("a", weights=(0.2, 0.5, 0.3))
    page = Opened(host)
    weights = page.panel(Weights)
    assert dict(weights.source.data) == {"component": [0, 1, 2], "weight": [0.2, 0.5, 0.3]}
    assert weights.figure.visible
    reports.begin("b", task="predict")
    page.update()
    assert not weights.figure.visible


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "queued", "started": None}, "dask-em cancel a"),
        ({"state": "running"}, "dask-em cancel a"),
        ({"state": "failed", "error": "boom"}, "dask-em resume a"),
        ({"state": "cancelled"}, "dask-em resume a"),
        ({"state": "done"}, "dask-em result a"),
    ],
)
def test_what_can_be_done(changes: dict[str, Any], said: str, reports: Reports, host: Host) -> None:
    reports.begin("a", **changes)
    text = Opened(host).panel(Details).div.text
    assert said in text
    assert changes.get("error", "") in text


def test_what_comes_from_a_job_is_never_html(reports: Reports, host: Host) -> None:
    evil = "<img src=x onerror=alert(1)>"
    reports.begin(
        "a",
        what=evil,
        data=evil,
        output=evil,
        worker=evil,
        tags={evil: evil},
        state="failed",
        error=evil,
    )
    reports.read("a", kind=evil, step=evil)
    reports.mark("a", evil, 1, evil)
    page = Opened(host)
    assert "<img" not in page.panel(Details).div.text
    # older versions of Bokeh hover values as HTML
    assert not [
        text for name in ("kind", "step", "befell") for text in page.data()[name] if "<" in text
    ]
    templates = [column.formatter.template for column in page.panel(Jobs).root.columns]
    assert all("<%=" not in template for template in templates)


def test_rows_have_every_field(reports: Reports, host: Host) -> None:
    reports.begin("a")
    page = Opened(host)
    assert all(len(row) == len(FIELDS) for row in page.board.watch.feed.rows.values())


def test_pages_share_what_they_ask(
    reports: Reports, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_em.dashboard.feed.FRESH_SECONDS", 60.0)
    reports.begin("a")
    pages = [Opened(host) for _ in range(3)]
    assert len({id(page.board.watch.feed) for page in pages}) == 1
    reports.change("a", tasks_done=3)
    assert [page.update() for page in pages] == [[], [], []]
