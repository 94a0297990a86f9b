"""`penstock enqueue MODULE:APP TASK`: one job from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.cli import call_options as o
from penstock.cli.command import Answer
from penstock.cli.exits import OutputLost
from penstock.cli.json_text import json_value
from penstock.cli.output import Output
from penstock.cli.session import Session, without_flags
from penstock.cli.target import Target, load_app
from penstock.cli.times import seconds
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.client.builder import Plan
    from penstock.core.lifecycle import State
    from penstock.job import Job


def enqueue(  # noqa: PLR0913 - one parameter per option
    session: Session,
    target: Target,
    task: o.TaskName,
    arguments: o.Arguments = None,
    *,
    arg: o.Arg = None,
    queue: o.Queue = None,
    priority: o.Priority = None,
    delay: o.Delay = None,
    run_at: o.RunAt = None,
    expires: o.Expires = None,
    timeout: o.Timeout = None,
    retries: o.Retries = None,
    key: o.Key = None,
    after: o.After = None,
    tag: o.Tag = None,
    durability: o.DurabilityClass = None,
    quiet: o.Quiet = False,
) -> Answer:
    """Enqueue one job by the name of its task.

    Prints its id, its state, what the stored job survives, and where it is stored; where --key is
    known, of the job that holds it. JSON: {"id", "task", "queue", "state", "durability",
    "duplicate", "location"}.
    """
    from penstock.task import Call

    app = load_app(target)
    args, kwargs = _arguments(arguments, arg or [])
    options = {
        "queue": queue, "priority": priority, "retries": retries, "key": key, "after": after,
        "delay": seconds(delay, "--delay"), "expires": seconds(expires, "--expires"),
        "timeout": seconds(timeout, "--timeout"), "tags": tag,
        "durability": durability, "run_at": None if run_at is None else _time(run_at),
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    plan = _plan(app, task, given)
    call = Call[Any](plan, args, kwargs)
    with session.broker_of(app) as location:
        job = app.client.enqueue(call)
        task, name = plan.spec.task, plan.queue
        if job.duplicate:
            # The job that holds the key may stand elsewhere than this call asked for.
            held = job.record()
            task, name, state = held.spec.task, held.queue, held.state
        else:
            state = job.status()
    try:
        if quiet and not session.output.as_json:
            session.output.line(job.id)
        else:
            _say(session.output, job, (task, name, state), location)
    except OutputLost as error:
        word = "was there already" if job.duplicate else "was accepted"
        raise OutputLost(
            f"{error}: job {job.id} {word}, do not enqueue it again", job_id=job.id
        ) from error
    return None


def _plan(app: App, task: str, options: Mapping[str, Any]) -> Plan:
    """Return the plan of a call with these options.

    Raises:
        BadSetting: one of them breaks its rule.
        Misconfigured: the environment or the settings file does.
    """
    from penstock.client.builder import Plan
    from penstock.tasks.asked import Asked, ask
    from penstock.tasks.routing import routed

    asked = ask(Asked(), options)
    try:
        return Plan.of(*routed(app, app.registry[task], asked))
    except BadSetting:
        without_flags()
        raise


def _say(out: Output, job: Job[Any], stored: tuple[str, str, State], location: str) -> None:
    """Print the answer; `stored` is task, queue and state as the broker has them."""
    task, queue, state = stored
    if out.as_json:
        answer = {"id": job.id, "task": task, "queue": queue, "state": state}
        more = {"durability": job.durability, "duplicate": job.duplicate, "location": location}
        out.document(answer | more)
        return
    word = "there already" if job.duplicate else "accepted"
    out.fields(
        [
            ("job", job.id),
            ("state", f"{state} ({word})"),
            ("queue", queue),
            ("durability", str(job.durability)),
            ("stored in", location),
        ]
    )


def _arguments(text: str | None, named: Sequence[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return (args, kwargs) from the JSON argument and the --arg options."""
    whole = {} if text is None else json_value(text, "arguments")
    if not isinstance(whole, dict | list):
        raise BadSetting(
            "arguments are neither an object nor an array: write "
            """'{"name": value}' or '[value, ...]', or use --arg name=value"""
        )
    args = tuple(whole) if isinstance(whole, list) else ()
    kwargs = dict(whole) if isinstance(whole, dict) else {}
    for at, item in enumerate(named, 1):
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            # Without the text: a value whose name was forgotten may be a secret.
            raise BadSetting(f"--arg number {at} has no name: write --arg name=value")
        if name in kwargs:
            raise BadSetting(f"argument {name!r} is given twice: give it once")
        kwargs[name] = _value(name, value)
    return args, kwargs


def _value(name: str, text: str) -> Any:
    """Return one value: JSON where it is JSON, else the text itself."""
    import msgspec

    if text[:1] in {"{", "[", '"'}:
        # It was meant as JSON; taking a slip of the pen as text would hide it.
        return json_value(text, f"--arg {name}")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _time(text: str) -> Any:
    from datetime import datetime

    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadSetting(
            f"--run-at {text!r} is not a time: write it as 2027-01-31T08:00:00+01:00"
        ) from error
    if instant.tzinfo is None:
        raise BadSetting(
            f"--run-at {text!r} is without a time zone: append Z for UTC, or the distance from it, "
            "as +01:00"
        )
    return instant
