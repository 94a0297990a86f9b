"""Which value of an option holds for a task: one rule of precedence, kept here alone.

From the weakest to the strongest: the settings, the queue's table, the route, the decorator, the
call. What nobody says has the default. The rule is Celery's turned around where it surprises: there
a route silently wins over what stands beside the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import BadSetting
from penstock.tasks.asked import QUEUE_DEFAULT, Asked, ask
from penstock.tasks.builder import outfitted
from penstock.tasks.options import CallOptions

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.config.tables import Tables
    from penstock.tasks.registry import Registration


def merged(*weakest_first: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that hold where several say something; a later one wins.

    None says nothing, wherever it stands.
    """
    return {
        name: value for one in weakest_first for name, value in one.items() if value is not None
    }


class Routing:
    """Gives tasks and calls what the settings file says of them."""

    def __init__(self, tables: Tables) -> None:
        """Follow these tables."""
        self._tables = tables

    def outfit(self, registration: Registration) -> Registration:
        """Return a task with the options of its route and of its queue beneath its own.

        Doing it again changes nothing.

        Raises:
            BadSetting: what holds together contradicts itself; the message names the task.
        """
        route = next((one for one in self._tables.routes if one.matches(registration.name)), None)
        said = merged({} if route is None else route.options, registration.options)
        queue = self._tables.queues.get(said.get("queue", QUEUE_DEFAULT))
        if route is None and queue is None:
            return registration
        of_queue = {} if queue is None else queue.options
        try:
            made = outfitted(registration, merged(of_queue, said))
        except BadSetting as error:
            raise BadSetting(
                f"task {registration.name}, with what [routes] and [queues.*] of the settings file "
                f"say: {error}"
            ) from error
        # What the queue says is left out: it holds only for jobs of that queue.
        return msgspec.structs.replace(made, options=said)

    def asked(self, registration: Registration, asked: Asked) -> Asked:
        """Return what a call asks for, with the options of the queue that it names beneath.

        Only those that a call can have: the others are the task's, wherever its jobs wait.

        Args:
            registration: the outfitted task. Calls that name no queue, or its own, need nothing.
            asked: what the call itself says.
        """
        if asked.queue is None or asked.queue == registration.queue:
            return asked
        queue = self._tables.queues.get(asked.queue)
        if queue is None:
            return asked
        unsaid = {
            name: value
            for name, value in queue.options.items()
            if name in CallOptions.__annotations__ and name not in registration.options
        }
        return _beneath(asked, unsaid)


def routed(app: App, registration: Registration, asked: Asked) -> tuple[Registration, Asked]:
    """Return a task and what a call asks for, as the settings file of `app` has both.

    Raises:
        BadSetting: a setting breaks its rule.
    """
    routing = Routing(app.config.tables)
    found = app.registry.find(registration.name) or registration
    return found, routing.asked(found, asked)


def _beneath(asked: Asked, options: Mapping[str, Any]) -> Asked:
    """Return `asked` with options beneath it: what it says itself stays."""
    nothing = Asked()
    found = ask(nothing, options)
    says_memory = asked.memory_bytes is not None or asked.memory_auto
    changes = {
        field: getattr(found, field)
        for field in Asked.__struct_fields__
        if getattr(asked, field) == getattr(nothing, field)
        and not (says_memory and field.startswith("memory_"))
    }
    return msgspec.structs.replace(asked, **changes)
