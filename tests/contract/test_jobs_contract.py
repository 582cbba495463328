"""What every queue of jobs promises. To try another one, add a case to `CASES`."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from trainwright.core.errors import (
    AmbiguousRef,
    IdempotencyMismatch,
    JobEnded,
    JobNotResumable,
    UnknownRef,
)
from trainwright.core.jobs import Job
from trainwright.store.database import build_engine
from trainwright.store.jobs import JobStore, Limits, find_misfit
from trainwright.store.sql_jobs import SqlJobs

OPEN = Limits(num_jobs=100)
Open = Callable[[float], JobStore]
LONG_S = 600.0


def open_sqlite(request: pytest.FixtureRequest, folder: Path) -> Open:
    return lambda lease_s: SqlJobs.open_file(folder / "jobs.sqlite", lease_s)


def open_postgresql(request: pytest.FixtureRequest, folder: Path) -> Open:
    url = request.getfixturevalue("new_database")()
    return lambda lease_s: SqlJobs(url, lease_s)


CASES = {"sqlite": open_sqlite, "postgresql": open_postgresql}


@pytest.fixture(params=CASES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[JobStore] = []
    opener = CASES[request.param](request, tmp_path)

    def open_one(lease_s: float = LONG_S) -> JobStore:
        opened.append(opener(lease_s))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> JobStore:
    return open_store(LONG_S)


def make_job(**changes: object) -> Job:
    document = {
        "id": uuid.uuid4().hex,
        "name": "stories",
        "manifest": {"seed": 1, "name": "é 🌊"},
        "folder": "/",
        "submitted_by": "ada",
        "submitted_at": "2026-01-01T00:00:00.000+00:00",
    }
    return Job.model_validate(document | changes)


def fill(store: JobStore, count: int, **changes: object) -> list[Job]:
    return [store.add(make_job(**changes))[0] for _ in range(count)]


def test_a_job_comes_back_as_it_was_put_in_line(store: JobStore) -> None:
    job, is_new = store.add(make_job(priority=3, memory_bytes=5 * 10**9))
    assert is_new
    assert store.get(job.id) == job
    assert store.count()["queued"] == 1
    with pytest.raises(UnknownRef):
        store.get("0" * 32)


def test_pages_are_newest_first_and_complete(store: JobStore) -> None:
    jobs = fill(store, 5)
    first = store.find(2)
    assert [job.id for job in first] == [jobs[4].id, jobs[3].id]
    assert [job.id for job in store.find(10, after=first[-1].id)] == [jobs[2].id, jobs[1].id, jobs[0].id]
    store.ask_stop(jobs[1].id, "bob")
    assert [job.id for job in store.find(10, states=("cancelled",))] == [jobs[1].id]
    with pytest.raises(UnknownRef):
        store.find(10, after="f" * 32)


def test_the_beginning_of_an_id_is_enough_where_it_is_one_job(store: JobStore) -> None:
    store.add(make_job(id="ab12" + "0" * 28))
    store.add(make_job(id="ab13" + "0" * 28))
    assert store.resolve("ab12") == "ab12" + "0" * 28
    store.add(make_job(id="ab12" + "1" * 28))
    with pytest.raises(AmbiguousRef):
        store.resolve("ab12")
    for text in ("ffff", "no id", "ab12" + "0" * 29):
        with pytest.raises(UnknownRef):
            store.resolve(text)


def test_the_highest_priority_comes_first_and_then_the_oldest(store: JobStore) -> None:
    low, first, second = fill(store, 1, priority=-1) + fill(store, 2)
    high = fill(store, 1, priority=5)[0]
    claims = [store.claim("w", "h", OPEN) for _ in range(4)]
    assert [claim and claim.job.id for claim in claims] == [high.id, first.id, second.id, low.id]
    assert store.claim("w", "h", OPEN) is None


def test_a_claimed_job_says_who_has_it(store: JobStore) -> None:
    fill(store, 1)
    claim = store.claim("worker-1", "h", OPEN)
    assert claim is not None
    assert (claim.job.state, claim.job.worker, claim.job.attempts) == ("running", "worker-1", 1)
    assert claim.job.started_at is not None


def test_one_host_takes_no_more_than_it_may(store: JobStore) -> None:
    fill(store, 3)
    assert store.claim("w1", "here", Limits(num_jobs=1)) is not None
    assert store.claim("w2", "here", Limits(num_jobs=1)) is None, "another worker of the same host"
    assert store.claim("w3", "there", Limits(num_jobs=1)) is not None


def test_a_job_waits_for_the_memory_it_may_take_and_a_smaller_one_passes_it(store: JobStore) -> None:
    running, large, small = (fill(store, 1, memory_bytes=size)[0] for size in (600, 500, 300))
    limits = Limits(num_jobs=10, memory_bytes=1000)
    first = store.claim("w", "h", limits)
    assert first is not None
    assert first.job.id == running.id
    second = store.claim("w", "h", limits)
    assert second is not None
    assert second.job.id == small.id
    assert store.claim("w", "h", limits) is None
    assert store.settle(running.id, first.lease, "completed", 0, None)
    third = store.claim("w", "h", limits)
    assert third is not None
    assert third.job.id == large.id


def take(store: JobStore, limits: Limits, host: str = "h") -> tuple[str, str | None] | None:
    """(id of the job, the device it was given) of a claim, or None."""
    claim = store.claim("w", host, limits)
    return None if claim is None else (claim.job.id, claim.job.device_held)


def test_a_device_goes_to_one_job_at_a_time_and_what_needs_none_passes(store: JobStore) -> None:
    first, second, third = fill(store, 3)
    alone = fill(store, 1, device="cpu")[0]
    limits = Limits(num_jobs=10, devices=("cuda:0", "cuda:1"))
    claim = store.claim("w", "h", limits)
    assert claim is not None
    assert (claim.job.id, claim.job.device_held) == (first.id, "cuda:0")
    assert take(store, limits) == (second.id, "cuda:1")
    assert take(store, limits) == (alone.id, None)
    assert take(store, limits) is None
    assert store.settle(first.id, claim.lease, "completed", 0, None)
    assert store.get(first.id).device_held is None
    assert take(store, limits) == (third.id, "cuda:0")


def test_a_device_that_is_asked_for_by_name_is_waited_for(store: JobStore) -> None:
    named = [fill(store, 1, device="cuda:1")[0] for _ in range(2)]
    other = fill(store, 1)[0]
    limits = Limits(num_jobs=10, devices=("cuda:0", "cuda:1"))
    assert take(store, limits) == (named[0].id, "cuda:1")
    assert take(store, limits) == (other.id, "cuda:0")
    assert take(store, limits) is None
    assert take(store, limits, "another host") == (named[1].id, "cuda:1")


def test_without_devices_to_hand_out_a_job_takes_what_it_finds(store: JobStore) -> None:
    jobs = fill(store, 2) + fill(store, 1, device="cuda:3")
    assert [take(store, OPEN) for _ in range(3)] == [(job.id, None) for job in jobs]


def test_the_device_of_a_job_whose_lease_ran_out_is_free_again(open_store: Open) -> None:
    late = open_store(-1.0)
    fill(late, 2)
    limits = Limits(num_jobs=10, devices=("cuda:0",))
    assert take(late, limits) is not None
    heir = open_store(LONG_S)
    assert take(heir, limits) is not None
    assert take(heir, limits) is None


def test_workers_of_one_host_that_race_never_share_a_device(open_store: Open) -> None:
    fill(open_store(LONG_S), 8)
    limits = Limits(num_jobs=8, devices=("cuda:0", "cuda:1", "cuda:2"))
    taken: list[str | None] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        store = open_store(LONG_S)
        barrier.wait()
        while claim := store.claim(f"w{number}", "one-host", limits):
            taken.append(claim.job.device_held)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, taken)) == ["cuda:0", "cuda:1", "cuda:2"]


@pytest.mark.parametrize(
    ("changes", "limits", "fits"),
    [
        ({}, Limits(), True),
        ({"memory_bytes": 5 * 10**9}, Limits(memory_bytes=4 * 10**9), False),
        ({"memory_bytes": 4 * 10**9}, Limits(memory_bytes=4 * 10**9), True),
        ({"device": "cuda:2"}, Limits(devices=("cuda:0",)), False),
        ({"device": "cuda:2"}, Limits(), True),
        ({"device": "cpu"}, Limits(devices=("cuda:0",)), True),
    ],
)
def test_a_job_that_no_idle_host_like_this_would_take_is_told_from_one_that_waits(
    store: JobStore, changes: dict[str, object], limits: Limits, fits: bool
) -> None:
    (job,) = fill(store, 1, **changes)
    assert (find_misfit(job, limits) == "") == fits
    assert (store.claim("w", "h", limits) is not None) == fits


def test_a_queue_of_the_version_before_is_opened_by_several_at_once_with_its_jobs(open_store: Open) -> None:
    num_openers = 4
    first = open_store(LONG_S)
    (job,) = fill(first, 1, device="cpu")
    assert isinstance(first, SqlJobs)
    engine = build_engine(first.url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE jobs DROP COLUMN device"))
        connection.execute(sa.text("ALTER TABLE jobs DROP COLUMN device_held"))
        connection.execute(sa.text("UPDATE jobs_schema SET version = 1"))
    engine.dispose()
    first.close()
    opened: list[JobStore] = []
    barrier = threading.Barrier(num_openers)

    def open_it() -> None:
        barrier.wait()
        opened.append(open_store(LONG_S))

    threads = [threading.Thread(target=open_it) for _ in range(num_openers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == num_openers
    assert opened[0].get(job.id) == job.model_copy(update={"device": "any"})


def test_a_lease_that_ran_out_is_anybodys_and_its_holder_has_no_say_any_more(open_store: Open) -> None:
    store = open_store(-1.0)  # run out as soon as it is taken
    (job,) = fill(store, 1)
    dead = store.claim("dead", "h", OPEN)
    heir = open_store(LONG_S).claim("heir", "h", OPEN)
    assert dead is not None
    assert heir is not None
    assert (heir.job.id, heir.job.attempts, heir.job.worker) == (job.id, 2, "heir")
    assert store.renew(job.id, dead.lease) is None
    assert not store.settle(job.id, dead.lease, "failed", 1, None)
    assert not store.release(job.id, dead.lease)
    assert not store.note_runs(job.id, dead.lease, ["a" * 64])
    assert store.get(job.id).worker == "heir"


def test_a_lease_that_ran_out_and_that_nobody_took_can_be_renewed(open_store: Open) -> None:
    late, other = open_store(-1.0), open_store(LONG_S)
    (job,) = fill(late, 1)
    claim = late.claim("slow", "h", OPEN)
    assert claim is not None
    assert other.renew(job.id, claim.lease) is not None
    assert other.claim("w", "h", OPEN) is None


def test_one_job_is_never_given_to_two(open_store: Open) -> None:
    jobs = fill(open_store(LONG_S), 12)
    taken: list[str] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        store = open_store(LONG_S)
        barrier.wait()
        while claim := store.claim(f"w{number}", f"h{number}", OPEN):
            taken.append(claim.job.id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(job.id for job in jobs)


def test_workers_of_one_host_that_race_keep_its_limit(open_store: Open) -> None:
    fill(open_store(LONG_S), 8)
    claims: list[object] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        store = open_store(LONG_S)
        barrier.wait()
        claims.append(store.claim(f"w{number}", "one-host", Limits(num_jobs=2)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 2


def test_a_job_in_line_that_is_stopped_is_never_run(store: JobStore) -> None:
    (job,) = fill(store, 1)
    stopped = store.ask_stop(job.id, "bob")
    assert (stopped.state, stopped.stop_asked_by) == ("cancelled", "bob")
    assert store.claim("w", "h", OPEN) is None
    with pytest.raises(JobEnded):
        store.ask_stop(job.id, "bob")


def test_who_works_on_a_job_hears_that_it_is_to_stop(store: JobStore) -> None:
    (job,) = fill(store, 1)
    claim = store.claim("w", "h", OPEN)
    assert claim is not None
    assert store.ask_stop(job.id, "bob").state == "running"
    renewed = store.renew(job.id, claim.lease)
    assert renewed is not None
    assert renewed.stop_asked_by == "bob"
    assert store.settle(job.id, claim.lease, "cancelled", 130, None)
    ended = store.get(job.id)
    assert (ended.state, ended.exit_code, ended.worker) == ("cancelled", 130, None)
    assert ended.ended_at is not None


def test_a_job_that_was_to_stop_when_its_worker_died_is_cancelled_and_not_run_again(open_store: Open) -> None:
    store = open_store(-1.0)
    (job,) = fill(store, 1)
    assert store.claim("dead", "h", OPEN) is not None
    store.ask_stop(job.id, "bob")
    assert store.claim("heir", "h", OPEN) is None
    assert store.get(job.id).state == "cancelled"


def test_a_job_that_was_put_back_is_claimed_again_when_its_pause_is_over(store: JobStore) -> None:
    (job,) = fill(store, 1)
    claim = store.claim("w", "h", OPEN)
    assert claim is not None
    assert store.note_runs(job.id, claim.lease, ["a" * 64])
    assert store.release(job.id, claim.lease, after_s=600, crashed=True)
    waiting = store.get(job.id)
    assert (waiting.state, waiting.crashes, waiting.runs, waiting.worker) == ("queued", 1, ("a" * 64,), None)
    assert store.claim("w", "h", OPEN) is None
    assert store.ask_stop(job.id, "x").state == "cancelled"
    assert store.requeue(job.id).state == "queued"
    again = store.claim("w", "h", OPEN)
    assert again is not None
    assert (again.job.attempts, again.job.crashes, again.job.stop_asked_by) == (2, 0, None)


def test_what_is_complete_or_running_is_not_put_back_in_line(store: JobStore) -> None:
    (job,) = fill(store, 1)
    with pytest.raises(JobNotResumable):
        store.requeue(job.id)
    claim = store.claim("w", "h", OPEN)
    assert claim is not None
    with pytest.raises(JobNotResumable):
        store.requeue(job.id)
    store.settle(job.id, claim.lease, "completed", 0, None)
    with pytest.raises(JobNotResumable):
        store.requeue(job.id)


def test_an_error_is_kept_and_goes_when_the_job_goes_on(store: JobStore) -> None:
    (job,) = fill(store, 1)
    claim = store.claim("w", "h", OPEN)
    assert claim is not None
    error = {"name": "drift", "message": "é"}
    store.settle(job.id, claim.lease, "failed", 4, error)
    assert store.get(job.id).error == error
    assert store.requeue(job.id).error is None


def test_one_key_is_one_job(store: JobStore) -> None:
    first, is_new = store.add(make_job(), key="k")
    again, is_new_again = store.add(make_job(), key="k")
    assert (is_new, is_new_again) == (True, False)
    assert again.id == first.id
    assert store.count()["queued"] == 1
    with pytest.raises(IdempotencyMismatch):
        store.add(make_job(manifest={"seed": 2}), key="k")


def test_what_is_measured_is_measured_over_completed_jobs(store: JobStore) -> None:
    assert store.measure() == {"frameworks": {}, "mean_working_s": None}
    (job,) = fill(store, 1, framework="reference")
    claim = store.claim("w", "h", OPEN)
    assert claim is not None
    store.settle(job.id, claim.lease, "completed", 0, None)
    measured = store.measure()
    assert measured["frameworks"] == {"reference": 1}
    assert measured["mean_working_s"] == pytest.approx(store.get(job.id).working_s)


def test_a_closed_queue_is_opened_again_with_all_that_was_in_it(open_store: Open) -> None:
    first = open_store(LONG_S)
    (job,) = fill(first, 1)
    first.close()
    assert open_store(LONG_S).get(job.id) == job
