"""The queue: order, cancelling, failures, limits. Its works take no time."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import UserError
from dreamlift.studio.work.queue import JobQueue
from tests.dreamlift.studio.conftest import Steps


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(length=4)
    yield queue
    queue.close()


def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so, ten seconds at most."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def held(**values: Any) -> Steps:
    """A work that waits before each of its steps."""
    return Steps(pass_on=threading.Semaphore(0), **values)


def test_jobs_are_made_in_the_order_in_which_they_were_submitted(queue: JobQueue) -> None:
    first, made = held(prompt="one"), list[str]()
    first.made = made
    jobs = queue.submit(first, *(Steps(prompt, made=made) for prompt in ("two", "three")))
    until(lambda: queue.get(jobs[0].id).state == "running")
    assert [view.position for view in map(queue.get, [job.id for job in jobs])][1:] == [1, 2]
    first.pass_on.release(3)
    views = [queue.wait(job.id, 10) for job in jobs]
    assert made == ["one", "two", "three"]
    assert [view.state for view in views] == ["done"] * 3
    assert [view.files for view in views] == [["one.mp4"], ["two.mp4"], ["three.mp4"]]


def test_a_running_job_stops_between_two_steps_and_the_next_one_begins(queue: JobQueue) -> None:
    work, after = held(steps=1000), Steps("after")
    job, next_job = queue.submit(work, after)
    work.pass_on.release(2)
    until(lambda: queue.get(job.id).step == 2)
    assert queue.cancel(job.id).phase == "stopping"
    work.pass_on.release()  # the step that is under way ends, and no other begins
    assert queue.wait(job.id, 10).state == "cancelled"
    assert work.done == 3
    assert work.made == []
    assert queue.wait(next_job.id, 10).state == "done"


def test_a_waiting_job_is_cancelled_at_once_and_never_made(queue: JobQueue) -> None:
    work, never = held(), Steps("never")
    running, waiting = queue.submit(work, never)
    assert queue.cancel(waiting.id).state == "cancelled"
    work.pass_on.release(3)
    assert queue.wait(running.id, 10).state == "done"
    assert never.done == 0
    assert queue.cancel(running.id).state == "done"  # which is over


def test_unusable_input_is_its_sentence_and_other_errors_name_their_kind(
    queue: JobQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    works = Steps(fails=UserError("The camera is inside the panda.")), Steps(fails=ValueError("no\ndepth"))
    first, second = (queue.wait(job.id, 10) for job in queue.submit(*works))
    assert (first.state, first.error) == ("failed", "The camera is inside the panda.")
    assert (second.state, second.error) == ("failed", "ValueError: no")
    assert capsys.readouterr().err.count("Traceback") == 1  # of the second: the first is no defect


def test_a_full_queue_refuses_all_of_what_does_not_fit(queue: JobQueue) -> None:
    work = held()
    (running,) = queue.submit(work)
    until(lambda: queue.get(running.id).state == "running")
    queue.submit(Steps(), Steps(), Steps())
    with pytest.raises(UserError, match="holds 4 jobs, and 1 more fit"):
        queue.submit(Steps(), Steps())
    assert len(queue.all()) == 4
    work.pass_on.release(3)


def test_progress_counts_steps_and_estimates_the_time_left(queue: JobQueue) -> None:
    work = held(steps=4)
    (job,) = queue.submit(work)
    seen = []
    for step in range(1, 4):
        work.pass_on.release()
        until(lambda step=step: queue.get(job.id).step == step)
        seen.append(queue.get(job.id))
    assert [view.share for view in seen] == [0.25, 0.5, 0.75]
    assert seen[0].left is None  # one step has no pace yet
    assert seen[2].left is not None
    assert 0 <= seen[2].left <= seen[2].seconds
    work.pass_on.release()


def test_a_job_that_does_not_exist_is_named_so(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel, queue.preview):
        with pytest.raises(UserError, match="no such job"):
            ask("0" * 12)


def test_closing_cancels_what_runs_and_what_waits() -> None:
    queue, work = JobQueue(length=4), held(steps=100)
    running, waiting = queue.submit(work, Steps())
    work.pass_on.release(50)
    queue.close()
    assert {queue.get(job.id).state for job in (running, waiting)} == {"cancelled"}
    with pytest.raises(UserError, match="closing"):
        queue.submit(Steps())
