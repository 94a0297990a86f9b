"""Profiles as `penstock up` and `penstock plan` show them, and what this machine has."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from penstock.cli.exits import NotFound
from penstock.cli.output import Column, Output
from penstock.cli.sizes import size
from penstock.config.settings import SETTINGS
from penstock.errors import BadSetting
from penstock.fleet.fitting import GPU_MEMORY, TooLarge, too_large
from penstock.fleet.role import Over, Resources, Role, excess, roles_of, total, unserved
from penstock.tasks.asked import QUEUE_DEFAULT

if TYPE_CHECKING:
    from penstock.config.profiles import Profile
    from penstock.config.resolve import Config

#: Field of `Resources` -> what people call it.
_CALLED: Final = {"cores": "cores", "memory_bytes": "memory", "gpus": "GPUs"}


class WorkerNeed(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of worker of a profile.

    Attributes:
        queues: that it serves; empty: all.
        count: workers that always run.
        count_max: to which the fleet grows while jobs wait.
        each: what one of them needs; memory_bytes is 0 where it has no budget of its own and takes
            a share of what the machine has.
    """

    name: str
    queues: tuple[str, ...]
    count: int
    count_max: int
    each: Resources


class ProfilePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile needs, held against this machine.

    Attributes:
        profile: its name.
        origin: the file it stands in, or "built in".
        total: of all workers, each kind grown to its most.
        machine: what this process may use.
        over: totals that the machine does not have.
        too_large: queues whose jobs need more than any worker of the profile that serves them has.
            The profile fits where both are empty.
        unserved: queues that no worker of the profile serves: of those that the settings file
            names, and the default queue unless a route `*` leaves nothing for it.
    """

    profile: str
    origin: str
    fits: bool
    workers: list[WorkerNeed]
    total: Resources
    machine: Resources
    over: list[Over]
    too_large: list[TooLarge]
    unserved: list[str]


def machine() -> Resources:
    """Return what this process may use."""
    from penstock.config.machine import gpu_count
    from penstock.config.quota import cpus, memory_bytes

    return Resources(cores=cpus(), memory_bytes=memory_bytes(), gpus=gpu_count())


def profiles(config: Config) -> dict[str, Profile]:
    """Return all profiles by name: those that come along, and those of the file."""
    return config.tables.profiles.all(config.tables.queues)


def find(config: Config, name: str) -> Profile:
    """Return a profile that has workers.

    Raises:
        NotFound: there is none of that name, or `full` has no queue to make a worker for.
    """
    known = profiles(config)
    found = known.get(name)
    where = "penstock.toml" if config.file is None else str(config.file)
    if found is None:
        raise NotFound(
            f"profile {name!r:.80} is unknown: use one of {', '.join(known)}, or write "
            f"[profiles.{name:.60}] in {where}"
        )
    if not found.workers:
        raise NotFound(
            f"profile {name!r} has a worker for each queue of the settings file, which has none: "
            f"write [queues.NAME] for each in {where}, or use minimal"
        )
    return found


def planned(
    config: Config,
    profile: Profile,
    here: Resources,
    gpu_bytes: Callable[[Role], int] | None = None,
) -> ProfilePlan:
    """Hold what a profile needs against what is here.

    Args:
        config: settings, with the tables of the queues.
        profile: whose workers are meant.
        here: what this process may use.
        gpu_bytes: returns the memory of the largest GPU of a worker; None: the driver is asked
            where a queue says `gpu_memory`.
    """
    needed = roles_of(profile, config.tables.queues)
    whole = total(needed)
    over = excess(whole, here)
    misfits = too_large(
        needed,
        config.tables.queues,
        config.tables.routes,
        budget_bytes=config.settings.memory,
        gpu_bytes=gpu_bytes or _gpu_bytes(config),
    )
    routed = [str(one.options["queue"]) for one in config.tables.routes if "queue" in one.options]
    if not any(one.pattern == "*" for one in config.tables.routes):
        routed.append(QUEUE_DEFAULT)
    return ProfilePlan(
        profile=profile.name,
        origin=profile.origin,
        fits=not over and not misfits,
        workers=[_need(one) for one in needed],
        total=whole,
        machine=here,
        over=over,
        too_large=misfits,
        unserved=unserved(needed, [*config.tables.queues, *routed]),
    )


def list_profiles(out: Output, config: Config) -> None:
    """Print every profile with what it needs."""
    here, gpu_bytes = machine(), _gpu_bytes(config)
    plans = [
        planned(config, one, here, gpu_bytes) for one in profiles(config).values() if one.workers
    ]
    if out.as_json:
        out.document({"profiles": plans})
        return
    columns = (
        Column("profile", whole=True), Column("workers"), *_figures(),
        Column("fits"), Column("from", spare=1),
    )  # fmt: skip
    rows = [
        [
            plan.profile,
            ", ".join(_called(one) for one in plan.workers),
            *_cells(plan.total),
            "yes" if plan.fits else "no",
            plan.origin,
        ]
        for plan in plans
    ]
    out.table(columns, rows)


def show(out: Output, plan: ProfilePlan) -> None:
    """Print one profile for people: a line per kind of worker, the totals, and what is missing."""
    columns = (
        Column("worker", whole=True), Column("queues"), Column("count", right=True), *_figures()
    )  # fmt: skip
    rows = [
        [one.name, ",".join(one.queues) or "all", _count(one), *_cells(one.each)]
        for one in plan.workers
    ]
    rows.append(["total", "", "", *_cells(plan.total)])
    rows.append(["this machine", "", "", *_cells(plan.machine)])
    out.table(columns, rows)
    if any(not one.each.memory_bytes for one in plan.workers):
        out.line("A worker without memory takes 85 % of what is there: give each its own.")
    for name in plan.unserved:
        out.line(f"queue {name} is served by no worker of this profile")
    for text in misfits(plan):
        out.line(text)
    if plan.fits:
        out.line(f"profile {plan.profile} fits this machine")


def misfits(plan: ProfilePlan) -> list[str]:
    """Return in words why a profile does not fit; empty: it does."""
    return [_too_much(one) for one in plan.over] + [_too_large(one) for one in plan.too_large]


def _too_large(one: TooLarge) -> str:
    if one.what == GPU_MEMORY and not one.largest:
        return (
            f"queue {one.queue}: a job needs {size(one.needed)} of a GPU, and no worker of this "
            f"profile that serves it has one: let gpus of worker {one.worker} name one, or lower "
            f"gpu_memory in {one.place}"
        )
    if one.what == GPU_MEMORY:
        return (
            f"queue {one.queue}: a job needs {size(one.needed)} of a GPU, and the largest that a "
            f"worker of this profile may use has {size(one.largest)} (worker {one.worker}): lower "
            f"gpu_memory in {one.place}, or run its jobs where there is a larger one"
        )
    return (
        f"queue {one.queue}: a job needs {size(one.needed)}, and the largest worker of this "
        f"profile that serves it may reserve {size(one.largest)} (worker {one.worker}): raise "
        f"memory of that worker, or lower memory in {one.place}"
    )


def _too_much(one: Over) -> str:
    texts = [
        size(number) if one.what == "memory_bytes" else str(number)
        for number in (one.needed, one.here, one.over)
    ]
    return f"{_CALLED[one.what]}: {texts[0]} needed, {texts[1]} here: {texts[2]} too much"


def _gpu_bytes(config: Config) -> Callable[[Role], int]:
    """Return how to find the largest GPU that a worker may use; the driver is asked when it is."""

    @cache
    def largest(wanted: tuple[int, ...] | None) -> int:
        import asyncio

        from penstock.worker.supervisor.gpus import find_gpus

        settings = msgspec.structs.replace(config.settings, gpus=wanted)
        try:
            found = asyncio.run(find_gpus(settings, os.environ))
        except BadSetting:
            # A device that is not there, which the worker itself refuses when it starts.
            return 0
        return max((one.memory_bytes for one in found), default=0)

    def of_role(role: Role) -> int:
        said = role.table.settings.get("gpus")
        return largest(config.settings.gpus if said is None else SETTINGS["gpus"].read(said))

    return of_role


def _need(one: Role) -> WorkerNeed:
    return WorkerNeed(
        name=one.table.name,
        queues=one.queues,
        count=one.table.least,
        count_max=one.table.most,
        each=one.each,
    )


def _figures() -> tuple[Column, ...]:
    return tuple(Column(title, right=True) for title in _CALLED.values())


def _cells(found: Resources) -> list[str]:
    memory = size(found.memory_bytes) if found.memory_bytes else "-"
    return [str(found.cores), memory, str(found.gpus)]


def _count(one: WorkerNeed) -> str:
    return str(one.count) if one.count == one.count_max else f"{one.count}-{one.count_max}"


def _called(one: WorkerNeed) -> str:
    return one.name if one.count_max == 1 else f"{one.name} x{_count(one)}"
