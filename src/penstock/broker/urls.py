"""Broker URLs: shown without their secrets, and whether their parts can be told apart."""

from __future__ import annotations

import re
from typing import Final

from penstock.errors import BadSetting

#: Query parameters that hold a secret.
_SECRET: Final = re.compile(
    r"([?&][^&=#]*(?:password|passwd|secret|token)[^&=#]*)=[^&]*", re.IGNORECASE
)
#: The same in what is no URL, as the words of a libpq connection string; it may hold spaces.
_SECRET_WORD: Final = re.compile(
    r"((?:\A|[^?&\w])\w*(?:password|passwd|secret|token)\w*\s*=).*", re.IGNORECASE | re.DOTALL
)
_SCHEME: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:/+)?")
#: Host and port, then a path in which no `@` stands, up to the query.
_PLACE: Final = r"(?:\[[0-9A-Fa-f:.%]*\]|[^:@/?#\[\]]*)(?::[0-9]*)?(?:/[^@?#]*)?(?=[?#]|\Z)"
_WITHOUT_SECRET: Final = re.compile(rf"(?:[^:@/?#]*@)?{_PLACE}")
_WITH_SECRET: Final = re.compile(rf"([^:@/?#]*):[^@/?#]*@(?={_PLACE})")
#: Anything else: a slash is missing, or a sign in the password should have been quoted.
_MALFORMED: Final = re.compile(r"([^:]*):.*@", re.DOTALL)
#: What may be a URL with a secret inside a longer text.
_IN_TEXT: Final = re.compile(r"[^\s'\"]*:[^\s'\"]*@[^\s'\"]*")


#: Where user, password, host and port of a URL stand.
_AUTHORITY: Final = re.compile(r"[^/?#]*")


def check_quoted(url: str) -> None:
    """Refuse the URL of a server whose parts cannot be told apart.

    A driver that takes a part of the password for the host or the port quotes it in its errors.

    Raises:
        BadSetting: a sign stands where it must be percent-encoded.
    """
    found = _SCHEME.match(url)
    rest = url[0 if found is None else found.end() :]
    authority = _AUTHORITY.match(rest)
    place = "" if authority is None else authority[0]
    path = rest[len(place) :].partition("?")[0]
    if place.count("@") > 1 or "@" in path or "#" in rest:
        raise BadSetting(
            f"broker URL {masked(url)!r} is not allowed: signs of a user name or password must be "
            "percent-encoded, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F"
        )


def masked(url: str) -> str:
    """Return the URL with `***` in the place of its password, fit for logs and pages.

    Text of the form `...:SECRET@...` or `... password=SECRET` is masked even where it is no proper
    URL; then rather too much is hidden than too little.
    """
    # A file's path holds no password, and it is read back.
    if not url.startswith("sqlite:///"):
        url = _SECRET_WORD.sub(r"\1***", _without_password(url))
    return _SECRET.sub(r"\1=***", url)


def masked_in(text: str) -> str:
    """Return a text with every word masked that may be a URL with a password."""
    return _SECRET_WORD.sub(r"\1***", _IN_TEXT.sub(lambda word: masked(word[0]), text))


def _without_password(url: str) -> str:
    found = _SCHEME.match(url)
    start = 0 if found is None else found.end()
    scheme, rest = url[:start], url[start:]
    if _WITHOUT_SECRET.match(rest):
        return url
    rule = _WITH_SECRET if _WITH_SECRET.match(rest) else _MALFORMED
    return scheme + rule.sub(r"\1:***@", rest, count=1)
