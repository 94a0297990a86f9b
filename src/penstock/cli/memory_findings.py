"""What `penstock doctor` finds out about memory limits on this host."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.cli.findings import Finding
from penstock.config.resolve import Config


def of_memory(config: Config) -> Iterator[Finding]:
    """Who enforces the limits of a worker that is started here, and what ends all of it at once."""
    from penstock.executors.cgroups import V2, NoGroups, find_place, kills_whole_group

    if config.settings.cgroups == "off":
        yield Finding("warning", "memory", f"limits are watched only: cgroups is off{_WATCHED}")
    else:
        try:
            place = find_place()
        except NoGroups as why:
            yield Finding("warning", "memory", f"limits are watched only: {why}{_WATCHED}")
        else:
            alone = ", unless other processes live in that group" if place.version == V2 else ""
            groups = f"control groups of version {place.version} below {place.folder}"
            text = f"the kernel enforces limits, by {groups}{alone}"
            yield Finding("ok", "memory", text)
    if kills_whole_group():
        yield Finding(
            "warning",
            "memory",
            "memory.oom.group is set on this container: when it passes its limit the kernel ends "
            "the worker with all its jobs. Keep --memory below 85 % of the limit, or set "
            "singleProcessOOMKill in the kubelet (1.32 and newer)",
        )


#: What it means to a user that limits are watched only.
_WATCHED = "; a job that takes memory very fast may pass its limit before it is ended"
