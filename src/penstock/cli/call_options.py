"""The arguments and options of `penstock enqueue`; they mean what `.using(...)` means."""

from __future__ import annotations

from typing import Annotated

import typer

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Registered name of the task.")]
Arguments = Annotated[
    str | None,
    typer.Argument(metavar="[JSON]", help="All arguments: an object by name, or an array."),
]
Arg = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="One argument, as JSON or as plain text; may be repeated."
    ),
]
Queue = Annotated[
    str | None, typer.Option(metavar="QUEUE", help="Queue instead of the task's own.")
]
Priority = Annotated[int | None, typer.Option(metavar="N", help="0 (last) to 10 (first).")]
Delay = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Due this long from now, as 30s or 2h.")
]
RunAt = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Due at this time, as 2027-01-31T08:00:00+01:00."),
]
Expires = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Expires if it waits this long.")
]
Timeout = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Hard limit of one attempt; 0s: none.")
]
Retries = Annotated[int | None, typer.Option(metavar="N", help="Attempts after the first.")]
Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Same key and arguments within a day: the same job."),
]
After = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Parent that must be completed first; may be repeated."),
]
Tag = Annotated[
    list[str] | None, typer.Option(metavar="TAG", help="Name to find it by; may be repeated.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the id, for scripts.")]
DurabilityClass = Annotated[
    str | None, typer.Option(metavar="CLASS", help="local, replicated or fsync.")
]
