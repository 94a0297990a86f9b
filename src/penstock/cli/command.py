"""How a function becomes a command: the options that all commands share are added here, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from penstock.cli.exits import PipeClosed
from penstock.cli.output import Output
from penstock.cli.session import Session
from penstock.errors import BadSetting

Answer = int | None
"""Exit code of a command; None is 0."""

_PANEL: Final = "Shared by all commands"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Broker, as sqlite:///jobs.db. Default: PENSTOCK_URL, else the settings file, else "
        "penstock.db beside it.",
        rich_help_panel=_PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document; errors are JSON too.", rich_help_panel=_PANEL
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_PANEL)
]


def _shared(
    ctx: typer.Context,
    *,
    url: Url = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Hold the signature of the shared options."""


def command(app: typer.Typer, name: str, function: Callable[..., Answer], **extra: Any) -> None:
    """Make `function` the command `name` of `app`, with the shared options added.

    It takes a `Session`, then its own parameters, and returns its exit code; its docstring is the
    help text. `extra` goes to `typer.Typer.command`.
    """
    app.command(name, **extra)(_with_session(function))


def group(
    app: typer.Typer | None, name: str, function: Callable[..., Answer], **extra: Any
) -> typer.Typer:
    """Make `function` the command `name` of `app`, and return what its own commands are added to.

    Shared options may stand before or after the inner command. Without `app` it is the root.
    `extra` goes to `typer.Typer.callback`.
    """
    inner = typer.Typer(
        name=name,
        invoke_without_command=True,
        # Plain help reads the same in a pipe, and spares the start-up the import of rich.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    inner.callback(**extra)(_with_session(function))
    if app is not None:
        app.add_typer(inner, name=name)
    return inner


def _with_session(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Return `function` as typer wants it: the shared options in the place of the session."""
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = list(inspect.signature(_shared, eval_str=True).parameters.values())

    def run(**values: Any) -> Answer:
        context: typer.Context = values["ctx"]
        outer: dict[str, Any] = context.obj or {}
        options = {p.name: values[p.name] or outer.get(p.name) for p in shared[1:]}
        context.obj = options
        if context.invoked_subcommand is not None:
            return None
        session = Session(
            url=options["url"],
            output=Output(as_json=bool(options["json"])),
            debug=bool(options["debug"]),
        )
        _refuse_bytes(context, values)
        try:
            return function(session, **{one.name: values[one.name] for one in own})
        except BrokenPipeError as error:
            # typer would end the process itself, as if the command had failed.
            raise PipeClosed from error

    run.__doc__ = function.__doc__
    # typer reads the signature and not the code.
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _refuse_bytes(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Refuse words that are no text: Python keeps their bytes as signs that nothing can store.

    Raises:
        BadSetting: there is one; the message names its option.
    """
    for parameter in context.command.params:
        given = values.get(str(parameter.name))
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str) and any("\ud800" <= sign <= "\udfff" for sign in one):
                name = max(parameter.opts, key=len)
                if not name.startswith("-"):
                    name = (parameter.metavar or name).strip("[]")
                raise BadSetting(
                    f"{name} {one!a:.80} is not allowed: it holds bytes that are no UTF-8; write "
                    "it in UTF-8"
                )
