"""The page of JSON documents: what each command prints with `--json`, field by field."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect as mi

from penstock.cli import findings, fleet, shapes, workers
from penstock.cli.bundle import Bundle
from penstock.cli.explanation import Candidate, Explanation
from penstock.cli.failure import Failure
from penstock.cli.replayed import ReplayDocument
from penstock.core.job import StoredError
from penstock.core.runtime import Runtime
from penstock.core.usage import Usage
from penstock.demo import summary
from penstock.fleet.fitting import TooLarge
from penstock.fleet.role import Over, Resources
from penstock.worker.supervisor.health import ChildHealth, Health, RunnerHealth
from scripts.reference.docstring import markdown

#: Heading -> command, what its document is, and the records in it.
SECTIONS: dict[str, tuple[str, tuple[type[msgspec.Struct], ...]]] = {
    "Errors": ("On stderr, under the key `error`.", (Failure,)),
    "jobs, dead": (
        '`{"jobs": [JobRow], "next_before": ID or null}`; `dead` has `"dead": COUNT` too.',
        (shapes.JobRow,),
    ),
    "job, dead show": (
        "One `JobDocument`.",
        (
            shapes.JobDocument,
            shapes.Attempt,
            StoredError,
            Usage,
            Runtime,
            shapes.Charged,
            shapes.ParentEdge,
        ),
    ),
    "explain": ("One `Explanation`.", (Explanation, Candidate)),
    "dead show --bundle": ("The file holds one `Bundle`.", (Bundle,)),
    "replay": ("One `ReplayDocument`.", (ReplayDocument,)),
    "queues": ('`{"queues": [QueueRow]}`.', (shapes.QueueRow,)),
    "plan": (
        'One `ProfilePlan`; without a profile `{"profiles": [ProfilePlan]}`, as `up`.',
        (fleet.ProfilePlan, fleet.WorkerNeed, Resources, Over, TooLarge),
    ),
    "doctor": (
        (
            '`{"findings": [Finding], "broker": {...} or null, "workers": [WorkerRow]}`; with '
            '`--worker` `{"workers": [Answer]}`.'
        ),
        (
            findings.Finding,
            findings.WorkerRow,
            workers.Answer,
            Health,
            RunnerHealth,
            ChildHealth,
        ),
    ),
    "demo": (
        (
            'Under the key `summary`, beside `"database"`, `"url"`, `"report"`, `"log"`, `"root"`, '
            '`"files"` and `"left_out"`.'
        ),
        (summary.Summary, summary.Recovery, summary.Trouble),
    ),
}

#: What a value is called in JSON.
_WORDS: dict[type[mi.Type], str] = {
    mi.StrType: "text",
    mi.IntType: "whole number",
    mi.FloatType: "number",
    mi.BoolType: "true or false",
    mi.NoneType: "null",
    mi.RawType: "any JSON",
    mi.AnyType: "any JSON",
}


def page() -> str:
    """Return the page."""
    sections = "\n\n".join(_section(title, *rest) for title, rest in SECTIONS.items())
    return f"""\
# JSON documents

With `--json` a command prints one document on stdout and nothing else; an error is one document on
stderr. Fields are added, never renamed or removed. Instants end in `_at`: milliseconds since 1970
UTC. Durations end in `_ms`. The small documents of the other commands stand with [the
commands](cli.md).

{sections}
"""


def _section(title: str, document: str, records: tuple[type[msgspec.Struct], ...]) -> str:
    return "\n\n".join([f"## {title}", document, *(_record(record) for record in records)])


def _record(record: type[msgspec.Struct]) -> str:
    shown = [record.__name__, markdown(record)]
    if record.__struct_config__.omit_defaults:
        shown.append("Fields that would be null are left out.")
    rows = [f"| `{name}` | {_word(kind)} |" for name, kind in _fields(record)]
    table = "\n".join(["| field | value |", "|---|---|", *rows])
    return "### " + "\n\n".join([*shown, table])


def _fields(record: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    info: Any = mi.type_info(record)
    return [(field.encode_name, field.type) for field in info.fields]


def _word(kind: Any) -> str:
    """Return a type as JSON calls it."""
    match kind:
        case mi.UnionType():
            return " or ".join(dict.fromkeys(_word(member) for member in kind.types))
        case mi.EnumType():
            return ", ".join(f"`{member.value}`" for member in kind.cls)
        case mi.StructType():
            return f"`{kind.cls.__name__}`"
        case mi.VarTupleType() | mi.ListType():
            return f"list of {_word(kind.item_type)}"
        case mi.TupleType():
            return f"list of {', '.join(_word(item) for item in kind.item_types)}"
        case mi.DictType():
            return f"object, text -> {_word(kind.value_type)}"
    return _WORDS[type(kind)]
