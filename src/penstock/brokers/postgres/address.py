"""Where a server is, as a URL says it; what of it may be shown, and what libpq is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.errors import BadSetting

#: Schema of the tables unless the URL names another one.
SCHEMA_DEFAULT: Final = "penstock"
#: Bytes; PostgreSQL cuts longer names off, and two could become one.
_SCHEMA_BYTES_MAX: Final = 48
_NAMES_SCHEMA: Final = "schema="
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]*")
#: What libpq does where the network says nothing: unanswered data ends a connection after a second,
#: and an idle one is asked after ten. Waiting itself has its own deadline (`connection.py`).
_NETWORK: Final = {
    "tcp_user_timeout": "1000",
    "keepalives_idle": "10",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "application_name": "penstock",
}


class Address(NamedTuple):
    """A server, a database and a schema.

    Attributes:
        conninfo: for libpq; it holds the password.
        schema: of the tables.
        location: for people; it holds no secret.
    """

    conninfo: str
    schema: str
    location: str


def read_address(url: str) -> Address:
    """Return what `url` says: a URL of libpq, with `schema=NAME` as one more parameter.

    Raises:
        BadSetting: it is no such URL. What libpq says of it is left out: it may quote a password.
    """
    parts = urlsplit(url)
    named = [part for part in parts.query.split("&") if part.startswith(_NAMES_SCHEMA)]
    schema = named[-1].removeprefix(_NAMES_SCHEMA) if named else SCHEMA_DEFAULT
    if not _SCHEMA.fullmatch(schema) or len(schema) > _SCHEMA_BYTES_MAX:
        raise BadSetting(
            f"schema {schema!r} is not allowed: use lower-case letters, digits and underscores, "
            f"{_SCHEMA_BYTES_MAX} at most"
        )
    rest = "&".join(part for part in parts.query.split("&") if part not in named)
    try:
        params = conninfo_to_dict(urlunsplit(parts._replace(query=rest)))
    except psycopg.Error:
        raise BadSetting(
            "the PostgreSQL URL cannot be read: write postgresql://USER@HOST:PORT/DATABASE, with "
            "libpq's parameters behind a `?`, and special characters of a password as %XX"
        ) from None
    conninfo = make_conninfo("", **{**_NETWORK, **params})
    return Address(conninfo, schema, _location(params, schema))


def _location(params: Mapping[str, object], schema: str) -> str:
    host = params.get("host") or params.get("hostaddr") or "local socket"
    user = f"{params['user']}@" if params.get("user") else ""
    port = f":{params['port']}" if params.get("port") else ""
    database = params.get("dbname") or ""
    suffix = "" if schema == SCHEMA_DEFAULT else f"?schema={schema}"
    return f"postgresql://{user}{host}{port}/{database}{suffix}"
