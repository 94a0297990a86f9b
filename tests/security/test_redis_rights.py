"""The access list that is shipped for Redis: enough for Penstock, and for nothing else (SEC23)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError

from penstock.brokers.redis.scripts import read_scripts
from penstock.connect import connect
from penstock.testing.conformance import Case, cases
from tests.chaos.conftest import PROOF_ENV
from tests.conformance.harnesses import RedisHarness
from tests.support.redis_server import RedisServer

SHIPPED: Final = Path(__file__).resolve().parents[2] / "deploy/redis/users.acl"
PASSWORD: Final = "a-password-of-the-tests"  # noqa: S105 - of no server but those of the tests
ALL_CASES: Final = cases(RedisHarness.capabilities)
#: Every eighth in `make test`; what the others need is held against the file by its commands.
CASES: Final = ALL_CASES if os.environ.get(PROOF_ENV) else ALL_CASES[::8]
#: How Redis says that a user may not do it: to a client, and to a script.
DENIED: Final = r"(?i)permission|script can't (access|run|publish)|not allowed from script"
#: What must be refused, as words; keys and channels that are not Penstock's among it.
REFUSED: Final = """
FLUSHALL|FLUSHDB|KEYS *|SCAN 0|RANDOMKEY|DBSIZE|CONFIG GET *|CONFIG SET dir /tmp|CONFIG REWRITE
DEBUG SLEEP 0|SHUTDOWN|SAVE|BGSAVE|BGREWRITEAOF|REPLICAOF 127.0.0.1 1|MODULE LIST|MONITOR|ACL LIST
ACL SETUSER x on|SCRIPT KILL|SCRIPT FLUSH|FUNCTION LIST|CLIENT LIST|CLIENT KILL TYPE normal
SLOWLOG GET|LATENCY LATEST|MIGRATE 127.0.0.1 1 penstock 0 1|RESTORE penstock:x 0 x|OBJECT HELP
GET other|SET other 1|DEL other|GET penstockx|HSET other:penstock:x a b|GET {penstock}:x
PUBLISH other x|SUBSCRIBE other|PSUBSCRIBE *|SUBSCRIBE penstock
EVAL return_redis.call('GET','other') 0|EVAL return_redis.call('FLUSHALL') 0
EVAL return_redis.call('CONFIG','GET','*') 0|EVAL return_redis.call('SET','other','1') 0
EVAL return_redis.call('KEYS','*') 0|EVAL return_redis.call('PUBLISH','other','x') 0
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


class GuardedServer(RedisServer):
    """A server under the shipped access list, with one more user for the tests themselves."""

    def __init__(self, folder: Path) -> None:
        """Put a real password where the file wants one."""
        digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
        text, placed = re.subn(r"#0{64}", f"#{digest}", SHIPPED.read_text())
        assert placed == 1, "the file has one place for a password"
        rights = folder / "users.acl"
        rights.write_text(f"{text}user tester on >{PASSWORD} ~* &* +@all\n")
        super().__init__(folder, "--aclfile", str(rights), "--enable-debug-command", "yes")

    @property
    def url(self) -> str:
        """URL of the user that the file is for."""
        return f"redis://penstock:{PASSWORD}@127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """Return a client that may do everything."""
        return Redis(port=self.port, username="tester", password=PASSWORD)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    """One such server."""
    server = GuardedServer(tmp_path_factory.mktemp("guarded"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_contract_holds_under_the_access_list(case: Case, guarded: GuardedServer) -> None:
    """Each sentence of the port holds for a user who may do no more than the file says."""
    harness = RedisHarness(guarded)
    try:
        case.run(harness)
    finally:
        harness.close()


def test_every_command_of_every_script_is_allowed(guarded: GuardedServer) -> None:
    """No path of a script is refused, those that no case takes among them."""
    named = {
        word
        for script in read_scripts().values()
        for word in re.findall(r"redis\.p?call\(\s*'(\w+)'", script.text)
    }
    assert len(named) > 30, named
    given = set(re.findall(r" \+(\w+)", SHIPPED.read_text().upper()))
    of_python = {"AUTH", "HELLO", "PING", "SELECT", "INFO", "WAIT", "EVAL", "EVALSHA"}
    assert named - given == set()
    assert given - named - of_python == {"SUBSCRIBE", "UNSUBSCRIBE"}, "no right that nobody needs"
    # A script may call others only by a name that stands there.
    for script in read_scripts().values():
        calls = len(re.findall(r"redis\.p?call\(", script.text))
        assert calls == len(re.findall(r"redis\.p?call\(\s*'\w+'", script.text)), script.name


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_not_penstocks_is_refused(command: str, guarded: GuardedServer) -> None:
    """The user can neither administer the server nor touch keys and channels of others."""
    words = [word.replace("return_", "return ") for word in command.split()]
    with closing(Redis.from_url(guarded.url)) as client:
        send: Callable[..., object] = client.execute_command
        with pytest.raises(ResponseError, match=DENIED):
            send(*words)
    with closing(guarded.client()) as client:
        assert client.get("other") is None


def test_nobody_comes_in_without_a_password(guarded: GuardedServer) -> None:
    """The default user is off, and the file's own placeholder is the password of nobody."""
    for url in (f"redis://127.0.0.1:{guarded.port}", guarded.url.replace(PASSWORD, "0" * 64)):
        with closing(Redis.from_url(url)) as client, pytest.raises(AuthenticationError):
            client.get("penstock:x")


def test_doctor_finds_nothing_amiss(guarded: GuardedServer) -> None:
    """The settings that can be seen are looked at; that CONFIG is denied is told."""
    with closing(connect(guarded.url)) as broker:
        facts = broker.describe()
    assert any("CONFIG is denied" in text for text in facts.advice)
    assert PASSWORD not in repr(facts)
