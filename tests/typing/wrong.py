"""Wrong uses of the public API, each on a line that both type checkers must reject.

The comments name the error that mypy and basedpyright give there. `make lint` fails where one of
them no longer does; `test_typing.py` compares the errors line by line.
"""

from __future__ import annotations

from penstock import After, App, Exponential, Job, Secret, Task, current_job

app = App()
app_of_number = App(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@app.task
def plain(path: str, k: int = 8) -> dict[str, int]:
    """A plain function."""
    return {path: k}


@app.task(retries=2)
async def notify(user_id: int, text: str) -> None:
    """A coroutine function."""


@app.task(retires=2)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue]
def misspelt() -> None:
    """An option that does not exist."""


@app.task(isolation="container")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def isolated() -> None:
    """A value that the option does not have."""


@app.task(backoff="2s")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def impatient() -> None:
    """A duration where a backoff belongs."""


@app.task(retry_on=[ValueError()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
def picky() -> None:
    """An exception where its class belongs."""


def calls() -> None:
    """Arguments that do not fit the signature."""
    plain.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    plain.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.enqueue("a", "b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.enqueue("a", 1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    plain.enqueue("a", colour=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    plain.using(priority=9).enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.call(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.using(queue="q").call("a", k="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    notify.enqueue("1", "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.enqueue_many([plain.call(1)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.enqueue_many([plain])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def calls_async() -> None:
    """The same for the async twins."""
    await plain.aenqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await notify.aenqueue(user_id="x", text="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.aenqueue("a").result()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await plain("a")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


def options() -> None:
    """Options that do not exist, or of the wrong type."""
    plain.using(prioritee=9)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    plain.using(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.using(tags="nightly", delay=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.using(connection="postgresql://127.0.0.1/shop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.enqueue_many([], connection=app)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain.using(after=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    After("x", on_failure="retry")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Exponential(jitter="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results() -> None:
    """Results are typed by the function's annotation."""
    number: int = plain.enqueue("a").result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    job: Job[str] = plain.enqueue("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    task: Task[[int], str] = plain  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    jobs: list[Job[int]] = app.enqueue_many([plain.call("a")])  # type: ignore[list-item]  # pyright: ignore[reportAssignmentType]
    plain.enqueue("a").status().upper().nothing()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    current_job().attempt.nothing()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@app.task
def signed(token: Secret[str]) -> None:
    """A task with a secret parameter."""


def secrets() -> None:
    """A secret is marked where it is passed, and revealed where it is used."""
    signed.enqueue("s3cret")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    signed.enqueue(Secret(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Secret("s3cret").upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
