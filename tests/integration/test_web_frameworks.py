"""Jobs enqueued by real web servers, over HTTP, and run by a real worker beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import State
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised
from tests.support.web_server import WebServer
from tests.support.worker_process import worker_environment

# Each test starts a server and a worker, on a machine that may be busy.
pytestmark = pytest.mark.timeout(120)

#: The jobs of Flask and FastAPI.
JOBS = "tests.support.web_jobs:app"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Supervised]:
    """A broker file; servers and workers over it are gone at the end."""
    with Supervised(tmp_path) as site:
        yield site


def serve(site: Supervised, module: str, *args: str, sockets: int = 1) -> WebServer:
    """Start a server whose app finds its broker in the environment, as a deployed one does."""
    env = worker_environment({"url": site.url}, site.extra)
    return WebServer(module, *args, env=env, folder=site.folder, sockets=sockets)


def gunicorn(site: Supervised, app: str, *args: str) -> WebServer:
    """Start gunicorn with two sync workers."""
    fixed = ("--bind=fd://{0}", "--workers=2", "--timeout=60", "--no-control-socket")
    return serve(site, "gunicorn", *fixed, *args, app)


def uvicorn(site: Supervised, app: str) -> WebServer:
    """Start uvicorn."""
    return serve(site, "uvicorn", "--fd={0}", app)


def start_worker(site: Supervised, app: str = JOBS) -> None:
    """Start a worker and return once it is ready."""
    worker = site.start(app=app)
    site.wait_health(worker, lambda health: health.ready, "it to be ready")


def assert_ran_once(site: Supervised, ids: Iterable[str]) -> None:
    """Each job has an id of its own, completed in its first attempt, and ran once; no other did."""
    ids = sorted(ids)
    assert len(set(ids)) == len(ids)
    records = site.wait_final(*(site.app.job(one) for one in ids))
    assert [(one.state, len(one.attempts)) for one in records] == [(State.COMPLETED, 1)] * len(ids)
    assert sorted(words[1] for words in site.lines()) == ids


def test_flask_preloaded_by_gunicorn(site: Supervised) -> None:
    """Two workers forked from a master that had enqueued enqueue at once; each job runs once."""
    with gunicorn(site, "tests.support.web_flask:web", "--preload") as server:
        eventually(
            lambda: len(processes.descendants(server.pid)) == 2,
            within_s=SOON_S,
            what="two workers",
            state=server.log,
        )
        # SQLite's handles and locks must not be carried over a fork: all were let go for it.
        tree = [server.pid, *processes.descendants(server.pid)]
        assert processes.open_files(site.file, tree) == []
        # Neither is answered before both workers enqueue.
        together = server.post_at_once(["/together"] * 2)
        workers = {answer["pid"] for answer in together}
        assert len(workers) == 2
        assert server.pid not in workers
        spread = server.post_at_once(f"/jobs/{n}" for n in range(60))
        start_worker(site)
        waited = server.post_at_once(f"/results/{n}" for n in range(20))
        assert [answer["result"] for answer in waited] == [2 * n for n in range(20)]
        first = server.post_at_once(["/first"] * 4)
    assert {(answer["master"], answer["result"]) for answer in first} == {(server.pid, 2)}
    answers = [*together, *spread, *waited]
    assert {answer["pid"] for answer in answers} == workers
    assert_ran_once(
        site, [first[0]["ids"][0], *(one for answer in answers for one in answer["ids"])]
    )
    enqueued_by = Counter(int(words[2]) for words in site.lines())
    told = Counter({server.pid: 1})
    for answer in answers:
        told[answer["pid"]] += len(answer["ids"])
    assert enqueued_by == told


def test_fastapi_under_uvicorn(site: Supervised) -> None:
    """Fifty handlers await their results in one loop, and none keeps another from its turn."""

    def all_queued() -> bool:
        return sum(counts.queued for counts in site.broker.counts()) == 50

    with uvicorn(site, "tests.support.web_fastapi:web") as server:
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(server.post_at_once, [f"/awaited/{n}" for n in range(50)])
            eventually(all_queued, within_s=SOON_S, what="50 jobs queued", state=server.log)
            # Nobody runs jobs yet: fifty handlers wait, and the loop is there for others.
            late = server.post("/enqueued/50")
            start_worker(site)
            awaited = sent.result()
        threaded = server.post_at_once(f"/threaded/{n}" for n in range(20))
    answers = [*awaited, late, *threaded]
    assert [answer["result"] for answer in awaited] == [2 * n for n in range(50)]
    assert [answer["result"] for answer in threaded] == [2 * n for n in range(20)]
    assert {answer["pid"] for answer in answers} == {server.pid}
    assert len({answer["thread"] for answer in [*awaited, late]}) == 1
    assert_ran_once(site, [answer["id"] for answer in answers])


def test_two_event_loops_serve_one_fastapi_app(site: Supervised) -> None:
    """Two uvicorn servers in threads of one process share an app, each from its own loop."""
    start_worker(site)
    with serve(site, "tests.support.web_fastapi", "{0}", "{1}", sockets=2) as server:
        answers = server.post_at_once(f"/awaited/{n}" for n in range(50))
    assert [answer["result"] for answer in answers] == [2 * n for n in range(50)]
    by_loop = Counter((answer["pid"], answer["thread"]) for answer in answers)
    assert [(pid, count) for (pid, _), count in by_loop.items()] == [(server.pid, 25)] * 2
    assert_ran_once(site, [answer["id"] for answer in answers])


@pytest.mark.parametrize(
    ("start", "server_app"),
    [(gunicorn, "tests.support.web_django:wsgi"), (uvicorn, "tests.support.web_django:asgi")],
    ids=["wsgi", "asgi"],
)
def test_django(site: Supervised, start: Callable[..., WebServer], server_app: str) -> None:
    """Sync and async views enqueue, under WSGI and ASGI, and tasks see the project's settings.

    The server configures Django before it uses Penstock; the worker runs Penstock before it loads
    Django.
    """
    start_worker(site, "tests.support.web_django:jobs")
    kinds = ("sync", "committed", "async")
    with start(site, server_app) as server:
        answers = server.post_at_once(f"/{kind}/{n}" for kind in kinds for n in range(10))
    assert [answer["result"] for answer in answers] == [f"Harbour {n + 1}" for n in range(10)] * 3
    assert_ran_once(site, [answer["id"] for answer in answers])
