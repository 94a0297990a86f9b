"""What seals the secret arguments of one app's calls in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.serializers.sealing import Seal

if TYPE_CHECKING:
    from penstock.core.secret import SecretKeys
    from penstock.serializers.sealing import Sealer


class Sealing:
    """The app's own keys, or what a child or a sandbox seals with instead.

    Args:
        secret_keys: returns the app's keys; called once, at the first use.

    Attributes:
        attached: seals instead of the app's own keys; None: they do.
    """

    def __init__(self, secret_keys: Callable[[], SecretKeys]) -> None:
        self._secret_keys = secret_keys
        self._own: Seal | None = None
        self.attached: Sealer | None = None

    def own(self) -> Seal:
        """Return what seals and opens under the app's own keys."""
        if self._own is None:
            self._own = Seal(self._secret_keys())
        return self._own

    def sealer(self) -> Sealer:
        """Return what seals the app's calls now."""
        return self.own() if self.attached is None else self.attached
