"""Broker URLs as text for people: without their secrets."""

from __future__ import annotations

import re
from typing import Final

#: Query parameters that hold a secret.
_SECRET: Final = re.compile(r"([^&=]*(?:password|passwd|secret|token)[^&=]*)=[^&]*", re.IGNORECASE)


def masked(url: str) -> str:
    """Return the URL with `***` in the place of its password, fit for logs and pages.

    A password that should have been percent-encoded and was not is masked too.
    """
    head, mark, rest = url.partition("://")
    if not mark:
        return url
    credentials, at, host = rest.rpartition("@")
    if at and ":" in credentials and not rest.startswith("/"):
        rest = f"{credentials.partition(':')[0]}:***@{host}"
    rest, question, query = rest.partition("?")
    query = _SECRET.sub(r"\1=***", query)
    return f"{head}://{rest}{question}{query}"
