"""A Django project in one file, with its jobs; its settings change what a process has but once.

`TIME_ZONE` moves the local time of the process far from UTC, and `LOGGING` silences the loggers
that are there already.
"""

from __future__ import annotations

import os
from pathlib import Path

import django  # type: ignore[import-untyped] # it ships no types
from django.conf import settings  # type: ignore[import-untyped] # the same
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped] # the same
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped] # the same
from django.db import connection, transaction  # type: ignore[import-untyped] # the same
from django.http import HttpRequest, JsonResponse  # type: ignore[import-untyped] # the same
from django.urls import path  # type: ignore[import-untyped] # the same

from penstock import App, Job, current_job
from tests.support.trace import trace

#: For a job to end.
SOON = "30s"

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(os.environ["TMPDIR"]) / "shop.db",
        }
    },
    DEBUG=True,  # an error is told in the answer
    LOGGING={"version": 1, "disable_existing_loggers": True},
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",  # noqa: S106 - guards nothing
    SHOP="Harbour",
    TIME_ZONE="Pacific/Kiritimati",
)
django.setup()
jobs = App()


@jobs.task
def label(n: int) -> str:
    """Write down that the job ran; return what the settings and the database of Django say."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s + 1", [n])
        (number,) = cursor.fetchone()
    trace("ran", current_job().id, os.getpid())
    return f"{settings.SHOP} {number}"


def answer(job: Job[str], result: str) -> JsonResponse:
    """Return what every view answers."""
    return JsonResponse({"id": job.id, "pid": os.getpid(), "result": result})


def sync_view(_request: HttpRequest, n: int) -> JsonResponse:
    """Enqueue one job and answer with its result."""
    job = label.enqueue(n)
    return answer(job, job.result(timeout=SOON))


def committed_view(_request: HttpRequest, n: int) -> JsonResponse:
    """Enqueue one job when a transaction has been committed, for later, and answer the same."""
    accepted: list[Job[str]] = []
    with transaction.atomic():
        transaction.on_commit(lambda: accepted.append(label.using(delay="10ms").enqueue(n)))
        assert not accepted
    (job,) = accepted
    return answer(job, job.result(timeout=SOON))


async def async_view(_request: HttpRequest, n: int) -> JsonResponse:
    """Enqueue one job and await its result; under WSGI each request has a loop of its own."""
    job = await label.aenqueue(n)
    return answer(job, await job.aresult(timeout=SOON))


urlpatterns = [
    path("sync/<int:n>", sync_view),
    path("committed/<int:n>", committed_view),
    path("async/<int:n>", async_view),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
