"""What a command works with: its settings, its broker and its output."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.cli.exits import Misconfigured, NotFound
from penstock.cli.output import Output
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.broker.protocol import Broker
    from penstock.config.resolve import Config


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one command.

    Attributes:
        url: what `--url` said, None where it is not given.
        output: where the answer goes.
        debug: errors are shown with their tracebacks.
    """

    url: str | None
    output: Output
    debug: bool = False

    def now_ms(self) -> int:
        """Return the wall clock, for ages in tables; the broker's own clock is what it stored."""
        return time.time_ns() // 1_000_000

    def config(self, flags: Mapping[str, Any] | None = None) -> Config:
        """Read all settings; `flags` and `--url` win over everything else.

        Args:
            flags: setting name -> value; None values count as not given.

        Raises:
            BadSetting: a flag breaks its rule.
            Misconfigured: a value of the environment or of the settings file does.
        """
        from penstock.config.resolve import load

        given = {n: v for n, v in {"url": self.url, **(flags or {})}.items() if v is not None}
        try:
            return load(flags=given)
        except BadSetting:
            without_flags()
            raise

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """Open the broker for the length of a `with` block; a file that is not there stays so.

        Raises:
            BadSetting: the URL names no broker, or one that lives in one process only.
            NotFound: the file of a SQLite broker does not exist.
            Unavailable: it cannot be reached.
        """
        from penstock.connect import sqlite_path

        config = self.config()
        url, origin = config.settings.url, config.values["url"].origin
        refuse_memory(url, origin)
        if url.startswith("sqlite:") and not (file := sqlite_path(url)).exists():
            # Looking must not make a file: a slip in its name would look like an empty broker.
            raise NotFound(
                f"database {str(file)!r} (from {origin}) does not exist: give --url, or enqueue a "
                "job or start a worker, which create it"
            )
        broker = _opened(config)
        try:
            yield broker
        finally:
            broker.close()

    @contextmanager
    def broker_of(self, app: App) -> Iterator[str]:
        """Let `app` use its own broker, or that of `--url`, for the length of a `with` block.

        Yields:
            Where the jobs are: the absolute path of the file, or the URL without its password.

        Raises:
            BadSetting: as `broker`; a SQLite file is made where there is none.
            Misconfigured: the environment or the settings file names what cannot be opened.
        """
        from penstock.connect import location

        config = app.config if self.url is None else self.config()
        settings = config.settings
        refuse_memory(settings.url, config.values["url"].origin)
        broker = _opened(config)
        app.install_enqueuer(broker)
        try:
            yield location(settings.url)
        finally:
            app.install_enqueuer(None)
            broker.close()


def _opened(config: Config) -> Broker:
    """Open the broker of the settings; what is refused is told with its origin.

    Raises:
        BadSetting: a flag or the app names what cannot be opened.
        Misconfigured: the environment or the settings file does.
    """
    from penstock.connect import connect_as

    try:
        return connect_as(config.settings)
    except BadSetting as error:
        of_class = str(error).startswith("durability ")
        origin = config.values["durability" if of_class else "url"].origin
        if origin in {"--url", "the app"}:
            raise
        raise Misconfigured(f"{error} (from {origin})") from error


def refuse_memory(url: str, origin: str) -> None:
    """Refuse a broker that lives in one process.

    Raises:
        BadSetting: `url` names one; `origin` says where it stands.
    """
    if url.startswith("memory:"):
        raise BadSetting(
            f"broker URL {url!r} (from {origin}) names jobs in the memory of one process, and "
            "this command is another one: give --url sqlite:///FILE"
        )


def without_flags() -> None:
    """Read the settings without any flag.

    Raises:
        Misconfigured: so the mistake is not in the flags.
    """
    from penstock.config.resolve import load

    try:
        load()
    except BadSetting as error:
        raise Misconfigured(str(error)) from error
