"""Broker URLs as text for people: without their secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

#: Query parameters that hold a secret.
_SECRET: Final = re.compile(r"([^&=]*(?:password|passwd|secret|token)[^&=]*)=[^&]*", re.IGNORECASE)


def masked(url: str) -> str:
    """Return the URL with `***` in the place of its password, fit for logs and pages."""
    parts = urlsplit(url)
    if not parts.netloc:
        return url
    netloc = parts.netloc
    if parts.password is not None:
        netloc = f"{parts.username or ''}:***@{netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, query=_SECRET.sub(r"\1=***", parts.query)))
