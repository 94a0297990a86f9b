"""The environments of runners and children, made from the worker's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from penstock.config.settings import Settings
from penstock.worker.wire import CHILD_ENV

from .child_kinds import PLAIN, ChildKind
from .plan import PLAN_FD_ENV
from .remains import MARK_ENV

#: Variables of the init system, meant for the supervisor alone.
_SUPERVISOR_ONLY: Final = frozenset(
    {PLAN_FD_ENV, "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"}
)
#: Settings that a child follows in its own process.
_CHILD_SETTINGS: Final = ("child_nice",)
#: Settings that runners and children follow in their own processes.
_LOG_SETTINGS: Final = ("log_format", "log_level", "log_file")


def runner_environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return the environment of a runner: the worker's, with the log settings that apply."""
    kept = {name: value for name, value in environ.items() if name not in _SUPERVISOR_ONLY}
    return kept | _passed_on(settings, _LOG_SETTINGS)


def child_environment(
    environ: Mapping[str, str], settings: Settings, owned: str, kind: ChildKind = PLAIN
) -> tuple[dict[str, str], str]:
    """Return the environment of a child, and the `NAME=value` that marks its family.

    `owned` says whose it is, and begins the mark (`Identity.owned_name`).

    Nothing of Penstock's is passed on but settings that it follows itself: a child holds no broker
    credentials. What else the environment holds is the app's own, which could not be imported
    without it.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _SUPERVISOR_ONLY and not name.startswith("PENSTOCK_")
    }
    mark = f"{owned}.{secrets.token_hex(8)}"
    own = {CHILD_ENV: "1", MARK_ENV: mark}
    followed = _passed_on(settings, (*_LOG_SETTINGS, *_CHILD_SETTINGS))
    made = kept | kind.environment(environ) | followed | own
    return made, f"{MARK_ENV}={mark}"


def _passed_on(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    values = ((name, getattr(settings, name)) for name in names)
    return {f"PENSTOCK_{name.upper()}": str(value) for name, value in values if value}
