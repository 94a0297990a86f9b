"""A host of its own, as the network sees it: a namespace with one link to the tester's."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType
from typing import Literal, Self

import psutil

from tests.support.site import NOTHING, Site
from tests.support.worker_process import WorkerProcess

#: Which end of the link goes down: that of the broker or that of the worker.
End = Literal["near", "far"]


def is_of_our_own() -> bool:
    """Tell whether the network of this process leads nowhere: only the loopback is up."""
    return [name for name, state in psutil.net_if_stats().items() if state.isup] == ["lo"]


class NamespaceLine:
    """Use as a context, as root, in a network of the tests' own; at its end nothing is left.

    The broker listens at `address`, here; the worker lives in the namespace at the other end.

    Attributes:
        title: what it is, for the report.
        address: of the near end.
    """

    def __init__(self, number: int, end: End) -> None:
        """Name what is to be made.

        Args:
            number: of the subnet, from 0 to 255; no two lines have the same.
            end: which one goes down when the line is cut. At the worker's, its kernel knows that
                there is no way; at the broker's, what the worker sends gets no answer at all.
        """
        self.title = f"network namespace, {end} end down"
        self.address = f"10.77.{number}.1"
        self._far_address = f"10.77.{number}.2"
        self._name = f"penstock-{os.getpid()}-{number}"
        self._near, self._far = f"near{number}", f"far{number}"
        self._end = end

    def __enter__(self) -> Self:
        """Make the namespace and the link."""
        try:
            _ip("netns", "add", self._name)
            _ip(
                "link", "add", self._near, "type", "veth",
                "peer", "name", self._far, "netns", self._name,
            )  # fmt: skip
            _ip("address", "add", f"{self.address}/24", "dev", self._near)
            self._there("address", "add", f"{self._far_address}/24", "dev", self._far)
            _ip("link", "set", self._near, "up")
            self._there("link", "set", "lo", "up")
            self._there("link", "set", self._far, "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Take both away."""
        self._remove()

    def start_worker(self, site: Site, **settings: str) -> WorkerProcess:
        """Start a worker in the namespace, and return once it takes jobs."""
        url = site.url.replace("127.0.0.1", self.address)
        under = ("ip", "netns", "exec", self._name)
        worker = site.start("cut", environment=NOTHING, under=under, url=url, **settings)
        site.wait_ready(worker)
        return worker

    def cut(self) -> None:
        """Take one end down."""
        self._set("down")

    def heal(self) -> None:
        """Bring it up again."""
        self._set("up")

    def _set(self, state: str) -> None:
        if self._end == "near":
            _ip("link", "set", self._near, state)
        else:
            self._there("link", "set", self._far, state)

    def _there(self, *words: str) -> None:
        _ip("-netns", self._name, *words)

    def _remove(self) -> None:
        """Delete the link, both ends of which go with one, and the name of the namespace."""
        for words in (("link", "delete", self._near), ("netns", "delete", self._name)):
            subprocess.run(["ip", *words], capture_output=True, check=False)


def _ip(*words: str) -> None:
    """Run `ip`, whose complaint is in the error."""
    done = subprocess.run(["ip", *words], capture_output=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.decode()}"
