"""Other processes on PostgreSQL: `python -m tests.support.postgres_actor NAME URL`."""

from __future__ import annotations

import os
import sys

from penstock.brokers.postgres import PostgresBroker
from penstock.core import settlement as s
from tests.support.postgres_schema import claim, open_lease, put


def drain(url: str) -> None:
    """Claim until nothing is left, and print the ids; begin when the tester says so."""
    broker = PostgresBroker.open(url)
    lease = open_lease(broker)
    print("ready", flush=True)  # noqa: T201 - it speaks to its tester
    sys.stdin.readline()
    while jobs := claim(broker, lease, limit=7):
        done = [
            s.Complete(id=job.id, fence=job.fence, outcome="succeeded", result=b"1") for job in jobs
        ]
        assert list(broker.settle(done)) == [s.Applied.APPLIED] * len(jobs)
        print(*(job.id for job in jobs), sep="\n")  # noqa: T201
    broker.close()


def sleep(url: str) -> None:
    """Fall asleep at an empty queue, say so, and wait to be killed."""
    broker = PostgresBroker.open(url)
    listener = broker.listen()
    assert claim(broker, open_lease(broker), wake_token=listener.token) == ()
    print("asleep", flush=True)  # noqa: T201
    sys.stdin.readline()


def fork(url: str) -> None:
    """Use one handle before, during and after a fork, in both processes; print the ids."""
    broker = PostgresBroker.open(url)
    listener = broker.listen()
    print(*put(broker))  # noqa: T201
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        print(*put(broker))  # noqa: T201
        sys.stdout.flush()
        listener.close()
        broker.close()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    print(*put(broker))  # noqa: T201
    assert claim(broker, open_lease(broker), limit=3)
    claim(broker, open_lease(broker), wake_token=listener.token)
    print(*put(broker))  # noqa: T201
    assert listener.wait(20), "the child's close took the parent's wake-up"
    listener.close()
    broker.close()


if __name__ == "__main__":
    {"drain": drain, "fork": fork, "sleep": sleep}[sys.argv[1]](sys.argv[2])
