"""Job ids rise within a process, carry their queue, and differ between processes."""

from __future__ import annotations

import os
import threading

from penstock.client.job_ids import JobIds, PerProcess
from penstock.core.ids import queue_tag_of


def test_ids_rise_and_carry_their_queue() -> None:
    """Ids of one client rise over calls and within a batch, each with the tag of its queue."""
    ids = JobIds()
    drawn = ids.draw([1, 2, 65_535]) + ids.draw([7] * 1_000)
    assert drawn == sorted(set(drawn))
    assert [queue_tag_of(job_id) for job_id in drawn[:4]] == [1, 2, 65_535, 7]


def test_threads_draw_different_ids() -> None:
    """Eight threads that draw at once never draw the same id."""
    ids, drawn, start = JobIds(), list[str](), threading.Barrier(8)

    def draw() -> None:
        start.wait()
        for _ in range(200):
            drawn.extend(ids.draw([1] * 5))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == len(set(drawn)) == 8_000


def test_forks_draw_different_ids() -> None:
    """Two forks of one client, and their parent, share no chance: all their ids differ."""
    ids = JobIds()
    ids.draw([1])
    drawn: list[str] = []
    for _ in range(2):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, "\n".join(ids.draw([1] * 50)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            drawn += answer.read().split()
        assert os.waitpid(pid, 0)[1] == 0
    drawn += ids.draw([1] * 50)
    assert len({job_id[-12:] for job_id in drawn}) == 150


def test_lock_held_while_forking_does_not_block_the_fork() -> None:
    """A value per process is made anew after a fork, whatever the parent did with it."""
    lock = PerProcess(threading.Lock)
    with lock.value():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if lock.value().acquire(timeout=1) else 1)
        assert os.waitpid(pid, 0)[1] == 0
    assert lock.value() is lock.value()
