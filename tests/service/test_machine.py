"""The state machine of a job: every transition, and what holds whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dask_em.service.commands import Forget, Launch, Stop
from dask_em.service.job import Commit, Job, State
from dask_em.service.machine import (
    CancelAsked,
    Change,
    Committed,
    DeleteAsked,
    DriverFailed,
    DriverLost,
    Event,
    Finished,
    Heard,
    Patience,
    ResumeAsked,
    SchedulerStarted,
    SlotFree,
)
from dask_em.service.queue import due, wakes_at

QUEUED = Job("a", 0)
RUNNING = replace(QUEUED, state=State.running, epoch=2, run=7, checkpoint=Commit(1, 3, 10))
DONE, FAILED, CANCELLED = (
    replace(RUNNING, state=state, ended=5.0)
    for state in (State.done, State.failed, State.cancelled)
)
ENDED = (DONE, FAILED, CANCELLED)
#: what a driver may say
SAID: tuple[Event, ...] = (Heard(2, 7), Committed(2, 7, 11), Finished(2, 7), DriverFailed(2, "x"))


def accepted(job: Job, event: Event, now: float = 100.0) -> Change:
    change = event.happen(job, now, Patience())
    assert change.refused is None
    return change


def refused(job: Job, event: Event, match: str = "", now: float = 100.0) -> None:
    change = event.happen(job, now, Patience())
    assert change.job == job
    assert not change.commands
    assert change.refused is not None
    assert match in change.refused


def test_a_job_is_started() -> None:
    change = accepted(QUEUED, SlotFree())
    assert change.commands == (Launch(1),)
    assert (change.job.state, change.job.epoch, change.job.started) == (State.running, 1, 100.0)
    again = accepted(replace(change.job, state=State.queued), SlotFree(), 200.0)
    assert (again.job.epoch, again.job.started) == (2, 100.0)


@pytest.mark.parametrize("job", [RUNNING, *ENDED], ids=lambda job: job.state)
def test_only_queued_jobs_are_started(job: Job) -> None:
    refused(job, SlotFree(), "only queued jobs")


def test_a_pause_is_kept() -> None:
    refused(replace(QUEUED, not_before=101.5), SlotFree(), "pauses for 1.5 s more")


def test_a_commit_counts() -> None:
    job = accepted(replace(RUNNING, losses=3, error="lost"), Committed(2, 7, 11)).job
    assert job.checkpoint == Commit(2, 7, 11)
    assert (job.losses, job.error, job.iteration) == (0, None, 11)


def test_a_commit_may_be_asked_for_twice() -> None:
    job = accepted(RUNNING, Committed(2, 7, 11)).job
    assert accepted(job, Committed(2, 7, 11)).job == job


def test_the_first_commit_may_be_that_of_the_start() -> None:
    job = accepted(replace(RUNNING, checkpoint=None), Committed(2, 7, 0)).job
    assert job.checkpoint == Commit(2, 7, 0)


@pytest.mark.parametrize("iteration", [0, 9, 10])
def test_a_checkpoint_never_goes_backwards(iteration: int) -> None:
    refused(RUNNING, Committed(2, 7, iteration), f"{iteration} is not after 10")


@pytest.mark.parametrize("event", SAID, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("job", [QUEUED, FAILED, CANCELLED], ids=lambda job: job.state)
def test_nobody_speaks_for_a_job_that_does_not_run(job: Job, event: Event) -> None:
    refused(replace(job, epoch=2), event, "no driver speaks for it")


def test_a_driver_that_was_replaced_is_not_heard() -> None:
    for event in (Heard(1, 9), Committed(1, 9, 20), Finished(1, 9), DriverFailed(1, "x")):
        refused(RUNNING, event, "driver 1 was replaced by driver 2")
    refused(RUNNING, DriverLost(1, "x"), "replaced")


def test_a_run_that_was_replaced_is_not_heard() -> None:
    for event in (Heard(2, 6), Committed(2, 6, 20), Finished(2, 6)):
        refused(RUNNING, event, "run 6 of driver 2 was replaced by run 7")


def test_a_new_run_replaces_the_old_one() -> None:
    assert accepted(RUNNING, Heard(2, 9)).job.run == 9
    assert accepted(RUNNING, Committed(2, 9, 11)).job.run == 9


def test_a_job_ends() -> None:
    job = accepted(RUNNING, Finished(2, 7)).job
    assert (job.state, job.ended, job.checkpoint) == (State.done, 100.0, RUNNING.checkpoint)
    assert accepted(job, Finished(2, 7), 300.0).job == job  # told twice
    refused(job, Finished(2, 8), "no driver")


def test_a_driver_fails() -> None:
    job = accepted(RUNNING, DriverFailed(2, "no such column")).job
    assert (job.state, job.error, job.checkpoint) == (
        State.failed, "no such column", RUNNING.checkpoint,
    )  # fmt: skip


def test_a_lost_driver_is_replaced_at_first_at_once_and_then_after_growing_pauses() -> None:
    job, pauses = RUNNING, []
    patience = Patience(most_losses=6, first_pause=2, longest_pause=10)
    for _ in range(6):
        change = DriverLost(job.epoch, "worker died").happen(job, 100.0, patience)
        assert change.job.state is State.queued
        pauses.append(change.job.not_before - 100)
        job = SlotFree().happen(change.job, change.job.not_before, patience).job
    assert pauses == [0, 2, 4, 8, 10, 10]
    change = DriverLost(job.epoch, "worker died").happen(job, 100.0, patience)
    assert change.job.state is State.failed
    assert "worker died; 7 drivers in a row were lost" in (change.job.error or "")
    assert "the limit is 6" in (change.job.error or "")
    assert change.job.checkpoint == RUNNING.checkpoint


def test_progress_makes_losses_forgotten() -> None:
    job = accepted(RUNNING, DriverLost(2, "x")).job
    job = accepted(job, SlotFree()).job
    job = accepted(job, Committed(3, 1, 11)).job
    assert accepted(job, DriverLost(3, "x")).job.not_before == 100.0


def test_the_pause_of_many_losses_is_finite() -> None:
    assert Patience(most_losses=10**6).pause(10**6) == Patience().longest_pause


def test_a_scheduler_that_comes_up_queues_what_ran() -> None:
    job = accepted(RUNNING, SchedulerStarted()).job
    assert (job.state, job.losses, job.run) == (State.queued, 0, None)
    for other in (QUEUED, *ENDED):
        assert accepted(other, SchedulerStarted()).job == other


def test_jobs_are_cancelled() -> None:
    assert accepted(QUEUED, CancelAsked()).job.state is State.cancelled
    change = accepted(RUNNING, CancelAsked())
    assert (change.job.state, change.commands) == (State.cancelled, (Stop(2),))
    for job in ENDED:
        refused(job, CancelAsked(), f"{job.state} already")


def test_jobs_are_resumed() -> None:
    for job in (FAILED, CANCELLED):
        again = accepted(replace(job, losses=9, error="x"), ResumeAsked()).job
        assert (again.state, again.losses, again.error, again.ended) == (
            State.queued, 0, None, None,
        )  # fmt: skip
        assert again.checkpoint == job.checkpoint
    for job in (QUEUED, RUNNING, DONE):
        refused(job, ResumeAsked(), "only failed and cancelled")


def test_what_has_ended_is_deleted() -> None:
    for job in ENDED:
        assert accepted(job, DeleteAsked()).commands == (Forget(),)
    for job in (QUEUED, RUNNING):
        refused(job, DeleteAsked(), "cancel it first")


def test_whose_turn_it_is() -> None:
    jobs = [
        Job("busy", 0, owner="a", state=State.running),
        Job("second of a", 1, owner="a"),
        Job("third of a", 2, owner="a"),
        Job("first of b", 3, owner="b"),
        Job("second of b", 4, owner="b"),
        Job("urgent", 5, owner="a", priority=1),
        Job("pauses", 6, owner="c", not_before=11),
        Job("over", 7, owner="c", state=State.done),
    ]
    order = [job.id for job in due(jobs, 10, 10.0)]
    assert order == ["urgent", "first of b", "second of b", "second of a", "third of a"]
    assert [job.id for job in due(jobs, 3, 10.0)] == order[:2]
    assert not due(jobs, 1, 10.0)
    assert not due(jobs, 0, 10.0)
    assert wakes_at(jobs, 10.0) == 11
    assert wakes_at(jobs, 11.0) is None


class Service(RuleBasedStateMachine):
    """Some jobs, a supervisor that obeys, drivers that die, freeze and speak late."""

    MOST = 2

    @initialize(owners=st.lists(st.sampled_from("xy"), min_size=1, max_size=4))
    def submit(self, owners: list[str]) -> None:
        self.now = 0.0
        self.jobs = [Job(f"j{i}", i, owner=owner) for i, owner in enumerate(owners)]
        self.drivers: list[tuple[int, int, int]] = []  # job, epoch, run: all there ever were
        self.history: list[list[Job]] = [[job] for job in self.jobs]
        self.committed: list[list[Commit]] = [[] for _ in self.jobs]
        self.heard = [(0, 0)] * len(self.jobs)  # epoch and run that spoke last, of each job

    def tell(self, which: int, event: Event) -> Change:
        before = self.jobs[which]
        change = event.happen(before, self.now, Patience(most_losses=3))
        self.jobs[which] = change.job
        if change.job != before:
            assert change.refused is None
            self.history[which].append(change.job)
        if change.job.checkpoint not in (None, before.checkpoint):
            assert before.state is State.running
            self.committed[which].append(change.job.checkpoint)  # type: ignore[arg-type]
        if isinstance(event, Heard | Committed | Finished) and change.refused is None:
            speaker = (event.epoch, event.run)
            assert speaker >= self.heard[which], "a driver that was replaced was heard"
            self.heard[which] = speaker
        for command in change.commands:
            if isinstance(command, Launch):
                assert (which, command.epoch, 1) not in self.drivers, "an epoch came twice"
                self.drivers.append((which, command.epoch, 1))
        return change

    @rule()
    def pump(self) -> None:
        for job in due(self.jobs, self.MOST, self.now):
            assert self.tell(job.order, SlotFree()).refused is None

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def ask(self, data: Any) -> None:
        which = data.draw(st.integers(0, len(self.jobs) - 1))
        self.tell(which, data.draw(st.sampled_from([CancelAsked(), ResumeAsked(), SlotFree()])))

    @precondition(lambda self: self.drivers)
    @rule(data=st.data())
    def speak(self, data: Any) -> None:
        """Any driver that there ever was; most have been replaced."""
        which, epoch, run = data.draw(st.sampled_from(self.drivers))
        self.say(which, epoch, run, data)

    @precondition(lambda self: any(job.state is State.running for job in self.jobs))
    @rule(data=st.data())
    def work(self, data: Any) -> None:
        """A run, dead or not, of the driver that a job has."""
        job = data.draw(st.sampled_from([j for j in self.jobs if j.state is State.running]))
        runs = [
            run for which, epoch, run in self.drivers if (which, epoch) == (job.order, job.epoch)
        ]
        if runs:
            self.say(job.order, job.epoch, data.draw(st.sampled_from(runs)), data)

    def say(self, which: int, epoch: int, run: int, data: Any) -> None:
        reached = self.jobs[which].iteration
        iteration = data.draw(st.integers(max(0, reached - 1), reached + 2))
        said: list[Event] = [Committed(epoch, run, iteration)] * 4
        said += [Heard(epoch, run), Finished(epoch, run)]
        said += [DriverFailed(epoch, "x"), DriverLost(epoch, "x")]
        self.tell(which, data.draw(st.sampled_from(said)))

    @precondition(lambda self: self.drivers)
    @rule(data=st.data())
    def worker_dies(self, data: Any) -> None:
        """Dask runs the task again elsewhere, under the next number."""
        which, epoch, _ = self.drivers[
            -1 - data.draw(st.integers(0, min(3, len(self.drivers) - 1)))
        ]
        runs = [run for job, other, run in self.drivers if (job, other) == (which, epoch)]
        self.drivers.append((which, epoch, max(runs) + 1))
        if data.draw(st.booleans()):
            self.tell(which, Heard(epoch, max(runs) + 1))

    @rule()
    def scheduler_restarts(self) -> None:
        for which in range(len(self.jobs)):
            self.tell(which, SchedulerStarted())

    @invariant()
    def a_finished_job_never_runs_again(self) -> None:
        for states in getattr(self, "history", []):
            done = [i for i, job in enumerate(states) if job.state is State.done]
            assert not done or done[0] == len(states) - 1

    @invariant()
    def checkpoints_go_forwards(self) -> None:
        for commits in getattr(self, "committed", []):
            iterations = [commit.iteration for commit in commits]
            assert iterations == sorted(set(iterations))
            epochs = [(commit.epoch, commit.run) for commit in commits]
            assert epochs == sorted(epochs)

    @invariant()
    def nothing_is_lost(self) -> None:
        for job in getattr(self, "jobs", []):
            if job.state is State.queued:
                assert job in due(self.jobs, 10**6, max(self.now, job.not_before))
            if job.state is State.failed:
                assert job.error
            assert (job.ended is not None) == job.state.ended


TestService = Service.TestCase
TestService.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
