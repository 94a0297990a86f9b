"""From a URL to a broker. The driver of a broker is imported only when its URL is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from penstock.broker.clock import SystemClock
from penstock.broker.requests import PAYLOAD_BYTES_MAX, Durability
from penstock.broker.urls import check_quoted, masked
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker
    from penstock.config.settings import Settings
    from penstock.core.clock import Clock

#: Name of the file where no URL says otherwise.
FILE_DEFAULT = "penstock.db"
#: Schemes of URLs that a later version will know.
_LATER = ("redis+sentinel", "redis+cluster")


def connect(
    url: str,
    *,
    durability: Durability | None = None,
    clock: Clock | None = None,
    payload_bytes_max: int = PAYLOAD_BYTES_MAX,
) -> Broker:
    """Open the broker that `url` names.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://HOST:PORT/DB`,
            `postgresql://USER@HOST/DATABASE`, or `memory://`.
        durability: class of an enqueue that asks for none; None: the broker's own default.
        clock: the machine's unless given; a server has its own.
        payload_bytes_max: bytes of one payload, and of one result.

    Raises:
        BadSetting: the URL names no broker, or one that is not installed; nothing was opened.
        Unavailable: the broker cannot be reached.
    """
    kind, _, _ = url.partition(":")
    at = SystemClock() if clock is None else clock
    if kind == "memory":
        from penstock.brokers.memory import MemoryBroker

        return MemoryBroker(at, payload_bytes_max=payload_bytes_max)
    if kind == "sqlite":
        from penstock.brokers.sqlite import SqliteBroker

        return SqliteBroker.open(
            sqlite_path(url),
            clock=at,
            durability=Durability.FSYNC if durability is None else durability,
            payload_bytes_max=payload_bytes_max,
        )
    if kind in ("redis", "rediss", "unix"):
        check_quoted(url)
        try:
            from penstock.brokers.redis import RedisBroker
        except ModuleNotFoundError as error:
            raise BadSetting(
                f"broker URL {masked(url)!r} needs the driver of Redis: pip install penstock[redis]"
            ) from error
        return RedisBroker.open(url, durability=durability, payload_bytes_max=payload_bytes_max)
    if kind in ("postgres", "postgresql"):
        check_quoted(url)
        return _connect_postgres(url, durability, payload_bytes_max)
    if kind in _LATER:
        raise BadSetting(
            f"broker URL {masked(url)!r} names a way to Redis that is not supported yet: give one "
            "server, redis://HOST:PORT/DB"
        )
    raise BadSetting(
        f"broker URL {masked(url)!r} names no broker: use sqlite:///FILE, redis://HOST:PORT/DB, "
        "postgresql://HOST/DATABASE or memory://"
    )


def _connect_postgres(url: str, durability: Durability | None, payload_bytes_max: int) -> Broker:
    try:
        from penstock.brokers.postgres import PostgresBroker
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise BadSetting(
            f"broker URL {masked(url)!r} needs the PostgreSQL driver: "
            "pip install 'penstock[postgres]'"
        ) from error
    return PostgresBroker.open(url, durability=durability, payload_bytes_max=payload_bytes_max)


def connect_as(settings: Settings, *, clock: Clock | None = None) -> Broker:
    """Open the broker that the settings name, with their class of durability and their caps.

    Raises:
        BadSetting, Unavailable: as `connect`.
    """
    return connect(
        settings.url,
        durability=settings.durability,
        clock=clock,
        # A broker knows one cap for both; the client holds payloads to theirs.
        payload_bytes_max=max(settings.payload_bytes_max, settings.result_bytes_max),
    )


def sqlite_path(url: str, base: Path | None = None) -> Path:
    """Return the absolute path of the file that a `sqlite:` URL names.

    Args:
        url: three slashes before a relative path, four before an absolute one.
        base: folder of relative paths; None: the working directory.

    Raises:
        BadSetting: not such a URL, one without a file or with SQLite's own name for memory, or one
            with a host: files on other hosts are not safe to share.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment:
        raise BadSetting(
            f"broker URL {masked(url)!r} names no file: use sqlite:///relative.db or "
            "sqlite:////absolute/path.db, without host, query or fragment"
        )
    # Source: the form of SQLAlchemy's URLs, which many already know.
    path = unquote(parts.path)[1:]
    if not path:
        raise BadSetting(
            f"broker URL {url!r} names no file: give an absolute path, as sqlite:////path/jobs.db, "
            "or one from here, as sqlite:///jobs.db"
        )
    if path.lstrip("/") == ":memory:":
        raise BadSetting(
            f"broker URL {url!r} names a database that only its own process sees: use memory:// "
            "in tests, else sqlite:////path/jobs.db"
        )
    return ((Path.cwd() if base is None else base) / path).resolve()


def sqlite_url(path: Path) -> str:
    """Return the URL of a file; `sqlite_path` gives the file back."""
    from urllib.parse import quote

    return f"sqlite:///{quote(str(path.resolve()))}"


def location(url: str) -> str:
    """Return where the jobs of `url` are, for people: a file's absolute path, or the masked URL."""
    return str(sqlite_path(url)) if url.startswith("sqlite:") else masked(url)
