"""The queue: its order is that of its rule, and long queues hold up nobody."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dask_em.service.job import Job, State
from dask_em.service.queue import due

STATES = [State.queued] * 4 + [State.running, State.done]


@st.composite
def jobs(draw):
    number = draw(st.integers(0, 20))
    return [
        Job(
            str(order),
            order,
            priority=draw(st.integers(-1, 1)),
            owner=draw(st.sampled_from("abc")),
            state=draw(st.sampled_from(STATES)),
            not_before=draw(st.sampled_from([0.0, 9.0])),
        )
        for order in draw(st.permutations(range(number)))
    ]


@given(jobs(), st.sampled_from([0, 1, 3, 1 << 30]))
def test_one_after_another_is_chosen_by_the_rule(jobs, most_running):
    running = Counter(job.owner for job in jobs if job.state is State.running)
    waiting = [job for job in jobs if job.state is State.queued and job.not_before <= 5.0]
    expected = []
    while waiting and running.total() < most_running:
        first = min(waiting, key=lambda job: (-job.priority, running[job.owner], job.order))
        waiting.remove(first)
        running[first.owner] += 1
        expected.append(first)
    assert due(jobs, most_running, 5.0) == expected
