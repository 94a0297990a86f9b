"""The page of the settings file's tables: every key of queues, routes and profiles."""

from __future__ import annotations

import inspect
import re

from penstock.config.profiles import NOT_HERE, OWN
from penstock.config.queues import OPTIONS
from penstock.config.settings import SETTINGS
from penstock.tasks.options import TaskOptions

_ITEM = re.compile(r"^    ([a-z_, ]+): (.*(?:\n        .*)*)", re.MULTILINE)


def page() -> str:
    """Return the page."""
    settings = ", ".join(f"`{name}`" for name in SETTINGS if name not in NOT_HERE)
    return f"""\
# Tables of the settings file

`penstock.toml` (or `[tool.penstock]` of `pyproject.toml`) holds [settings](settings.md) at its top
and these tables below. An unknown table or key is an error that names it, never ignored. How they
are used stands in [Run a fleet](../how-to/run-a-fleet.md).

## `[queues.NAME]`

What holds for the jobs of a queue. Values are written as for tasks: a duration is a number of
seconds or text like "15min", a size is text like "2GiB", and `backoff` is a table, for example
`{{ base = "2s", cap = "15min", jitter = "full" }}`.

| key | what it does |
|---|---|
| `concurrency` | jobs of the queue that one worker runs at a time |
{_options()}

## `[routes]`

One line per pattern, `"PATTERN" = "QUEUE"` or `"PATTERN" = {{ queue = "QUEUE", KEY = VALUE }}`,
with any key of `[queues.NAME]` but `concurrency`. A pattern is held against the name of a task:
`*` stands for anything, `?` for one character, `[ab]` for one of those. The first pattern of the
file that matches decides, alone.

## `[profiles.NAME.WORKER]`

One kind of worker of a profile. A key beside the tables of a profile, in `[profiles.NAME]`, holds
for all of its workers, and one in `[profiles]` for the workers of every profile.

| key | value | what it does |
|---|---|---|
{_own()}

And every setting of a worker, by its name: {settings}.

A worker that names its queues has, without `concurrency`, as many slots as they have together, and
without `memory` that of as many of their jobs, where the file says so. One for all queues takes
what the machine has. A profile that comes along (`minimal`, `full`, `datasets`, `heavy`, `light`)
is changed by values alone, and replaced by a profile with workers.

## `[lanes]`

`light = {{ reserve = 2, max_runtime = "500ms", max_memory = "128MiB" }}` is another way to write
the [settings](settings.md#capacity) `light`, `light_runtime_max` and `light_memory_max`.

## Who wins

From the weakest to the strongest: settings, `[queues.NAME]`, `[routes]`, the decorator of the task,
the call. Each option by itself: what one source does not say, the next weaker one does. A call that
names another queue takes from it what neither itself, the decorator nor the route says.
"""


def _own() -> str:
    return "\n".join(f"| `{name}` | {kind} | {reason} |" for name, (kind, reason) in OWN.items())


def _options() -> str:
    meanings = _meanings()
    known = [name for name in OPTIONS if name in TaskOptions.__annotations__]
    return "\n".join(f"| `{name}` | {meanings[name]} |" for name in known)


def _meanings() -> dict[str, str]:
    """Return what the docstrings of calls and tasks say of each option, in one line."""
    from penstock.tasks.options import CallOptions

    found = {}
    for options in (CallOptions, TaskOptions):
        for names, text in _ITEM.findall(inspect.getdoc(options) or ""):
            if text != "as for calls.":
                line = " ".join(text.split()).removesuffix(".").replace("|", "\\|")
                found.update(dict.fromkeys(names.split(", "), line))
    return found
