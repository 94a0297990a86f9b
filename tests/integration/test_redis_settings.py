"""Opening a Redis server: which settings are refused or warned of, and what the refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.broker import requests as r
from penstock.brokers.redis import RedisBroker
from penstock.brokers.redis.server import Server
from penstock.brokers.redis.settings import check_settings, version_of
from penstock.connect import connect
from penstock.core import settlement as s
from penstock.errors import BadSetting, OutcomeUnknown, Unavailable, WrongContext
from tests.support.command_line import penstock
from tests.support.eventually import eventually
from tests.support.port_actor import QUEUE, PortActor, completions
from tests.support.redis_server import RedisServer, redis_server

ROOT = Path(__file__).resolve().parents[2]
#: Stands in URLs, and must stand in no message.
SECRET = "kept-to-itself"  # noqa: S105 - of no server but those of the tests


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_an_eviction_policy_is_refused(policy: str, tmp_path: Path) -> None:
    """A server that deletes keys when it is full is named with its setting and the right value."""
    with redis_server(tmp_path, "--maxmemory-policy", policy) as server:
        with pytest.raises(BadSetting, match=f"maxmemory-policy {policy}") as caught:
            RedisBroker.open(server.url)
        assert "set `maxmemory-policy noeviction`" in str(caught.value)


def test_settings_that_endanger_jobs_are_warned_of(tmp_path: Path) -> None:
    """Without an append-only file and without a limit of memory there is one warning each."""
    with redis_server(tmp_path, "--appendonly", "no") as server, opened(server) as broker:
        file, memory = broker.describe().warnings
        assert "appendonly is no" in file
        assert "set `appendonly yes`" in file
        assert "maxmemory is 0" in memory
        assert "set `maxmemory`" in memory


def test_memory_that_is_nearly_full_is_told(tmp_path: Path) -> None:
    """Before it is full, and new jobs are refused."""
    with redis_server(tmp_path, "--maxmemory", "100mb") as server:
        with closing(server.client()) as client, opened(server) as broker:
            assert not any("of its memory" in text for text in broker.describe().advice)
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 10_000)
        with opened(server) as broker:
            assert sum("of its memory" in text for text in broker.describe().advice) == 1


def test_each_setting_that_could_be_better_is_named_with_its_value(tmp_path: Path) -> None:
    """What doctor tells of a server that is set up the wrong way is each line to be set."""
    wrong = (
        *("--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"),
        *("--tcp-keepalive", "0", "--timeout", "0"),
    )
    with redis_server(tmp_path, *wrong) as server, opened(server) as broker:
        advice = of_settings(broker.describe())
    lines = (
        "appendfsync everysec",
        "auto-aof-rewrite-percentage 100",
        "tcp-keepalive 60",
        "timeout 300",
    )
    assert len(advice) == len(lines)
    for line in lines:
        assert sum(f"set `{line}`" in text for text in advice) == 1


def test_a_server_as_it_should_be_is_not_warned_of(tmp_path: Path) -> None:
    """With the settings file that is shipped there is nothing to say."""
    shipped = ("--include", str(ROOT / "deploy" / "redis" / "redis.conf"))
    with redis_server(tmp_path, *shipped) as server, opened(server) as broker:
        facts = broker.describe()
        with closing(server.client()) as client:
            assert client.config_get("timeout")["timeout"] == "300"
    assert (facts.warnings, of_settings(facts)) == ((), ())
    assert (facts.kind, facts.durability) == ("redis", r.Durability.LOCAL)
    assert facts.durabilities == (r.Durability.LOCAL,)
    assert version_of(facts.version) >= (7, 0)


@pytest.mark.parametrize(
    "settings",
    [
        ("--appendonly", "yes", "--appendfsync", "everysec"),
        ("--appendonly", "no", "--appendfsync", "always"),
    ],
)
def test_fsync_is_refused_where_it_is_not_given(settings: tuple[str, ...], tmp_path: Path) -> None:
    """The class is given only where every write is synced to disk; the refusal says what to set."""
    with redis_server(tmp_path, *settings) as server:
        with pytest.raises(BadSetting, match="'fsync' is not to be had") as caught:
            RedisBroker.open(server.url, durability=r.Durability.FSYNC)
        assert "`appendonly yes` and `appendfsync always`" in str(caught.value)
        with opened(server) as broker, pytest.raises(BadSetting, match="'fsync' is not to be had"):
            broker.enqueue([PortActor(broker).request()], durability=r.Durability.FSYNC)


def test_fsync_is_given_where_every_write_is_synced(tmp_path: Path) -> None:
    """With `appendfsync always` the class is the default if asked for, and told with each job."""
    with (
        redis_server(tmp_path, "--appendfsync", "always") as server,
        opened(server, durability=r.Durability.FSYNC) as broker,
    ):
        (answer,) = broker.enqueue([PortActor(broker).request()])
        assert isinstance(answer, r.Accepted)
        assert answer.durability is r.Durability.FSYNC


def test_replicated_is_refused_without_a_replica(redis: RedisServer) -> None:
    """Where no replica is connected the class is refused, and the refusal says what it needs."""
    with pytest.raises(BadSetting, match="`replicated` a connected replica"):
        RedisBroker.open(redis.url, durability=r.Durability.REPLICATED)


def test_replicated_waits_for_a_replica(redis: RedisServer, tmp_path: Path) -> None:
    """An accepted job stands on the replica; while that is stopped the outcome is unknown.

    A repeat that writes nothing waits as well, or it would tell of a copy that is not there.
    """
    with closing(redis.client()) as primary:
        primary.config_set("repl-diskless-sync-delay", 0)
    with redis_server(tmp_path, "--replicaof", "127.0.0.1", str(redis.port)) as second:
        wait_replica(redis)
        with opened(redis, durability=r.Durability.REPLICATED) as broker:
            actor = PortActor(broker)
            (answer,) = broker.enqueue([actor.request()])
            assert isinstance(answer, r.Accepted)
            assert answer.durability is r.Durability.REPLICATED
            with closing(second.client()) as copy:
                assert copy.hlen(f"penstock:{{{QUEUE}}}:spec") == 1
            request = actor.request()
            second.stop_still()
            try:
                for _ in range(2):
                    with pytest.raises(
                        OutcomeUnknown, match=r"no replica confirmed|did not answer"
                    ):
                        broker.enqueue([request])
                assert actor.put(durability=r.Durability.LOCAL), "other classes wait for nobody"
            finally:
                second.go_on()
            (again,) = eventually(
                lambda: accepted(broker, request), within_s=20, what="the replica to confirm"
            )
            assert again.duplicate


def test_a_loop_waits_for_a_replica_beside_its_other_calls(
    redis: RedisServer, tmp_path: Path
) -> None:
    """An awaited enqueue that waits for a copy holds nothing up that follows it."""

    async def use(broker: RedisBroker, second: RedisServer) -> None:
        face, actor = broker.loop_face(), PortActor(broker)
        (answer,) = await face.enqueue([actor.request()])
        assert isinstance(answer, r.Accepted)
        assert answer.durability is r.Durability.REPLICATED
        second.stop_still()
        try:
            waiting = asyncio.create_task(face.enqueue([actor.request()]))
            while not waiting.done():
                await face.counts()
                counted.append(waiting.done())
            with pytest.raises(OutcomeUnknown, match=r"no replica confirmed|did not answer"):
                await waiting
        finally:
            second.go_on()

    counted: list[bool] = []
    with closing(redis.client()) as primary:
        primary.config_set("repl-diskless-sync-delay", 0)
    with redis_server(tmp_path, "--replicaof", "127.0.0.1", str(redis.port)) as second:
        wait_replica(redis)
        with opened(redis, durability=r.Durability.REPLICATED) as broker:
            asyncio.run(use(broker, second))
    assert False in counted


def test_config_may_be_forbidden(redis: RedisServer) -> None:
    """A user who may not read settings opens the broker, works, and is told what is not given."""
    with closing(redis.client()) as client:
        client.acl_setuser(
            "worker",
            enabled=True,
            passwords=[f"+{SECRET}"],
            keys=["*"],
            channels=["*"],
            commands=["+@all", "-config"],
        )
    url = redis.url.replace("//", f"//worker:{SECRET}@")
    with closing(RedisBroker.open(url)) as broker:
        assert PortActor(broker).put()
        assert SECRET not in broker.describe().location
    with pytest.raises(BadSetting, match="'fsync' is not to be had"):
        RedisBroker.open(url, durability=r.Durability.FSYNC)


def test_the_rights_that_the_page_names_are_enough(redis: RedisServer) -> None:
    """A user with the line of docs/explanation/redis-layout.md opens, works, listens and looks."""
    page = (ROOT / "docs" / "explanation" / "redis-layout.md").read_text()
    _, _, after = page.partition("```text\nuser penstock ")
    rights = after.partition("```")[0].replace(">PASSWORD", f">{SECRET}").split()
    with closing(redis.client()) as made:
        client: Any = made
        client.execute_command("ACL", "LOG", "RESET")
        client.execute_command("ACL", "SETUSER", "penstock", "reset", *rights)
        url = redis.url.replace("//", f"//penstock:{SECRET}@")
        with closing(RedisBroker.open(url)) as broker:
            actor = PortActor(broker)
            broker.register([QUEUE])
            listener = broker.listen()
            assert actor.put()
            (job,) = actor.take(1)
            assert broker.settle(completions([job])) == [s.Applied.APPLIED]
            assert broker.peek([job.id])[0] is not None
            assert broker.counts()[0].completed == 1
            assert not any("CONFIG is denied" in text for text in broker.describe().advice)
            listener.close()
        denied = client.execute_command("ACL", "LOG")
        assert denied == []


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@ss@w#rd@127.0.0.1:1/0",
        f"redis://:{SECRET}/word:x@127.0.0.1:1/0",
        f"postgresql://boss:{SECRET}/ss@127.0.0.1:1/shop",
        f"postgresql://boss:pg@Se:{SECRET}@127.0.0.1:1/shop",
        "redis://127.0.0.1:1/abc",
        "redis://127.0.0.1:1/0/1",
        "redis://127.0.0.1:1/0?foo=bar",
        "redis://127.0.0.1:1/0#there",
    ],
)
def test_a_url_that_cannot_be_told_apart_is_refused(url: str) -> None:
    """Before anybody is connected to, and without a part of the password."""
    with pytest.raises(BadSetting, match="is not allowed") as caught:
        connect(url)
    assert_kept(caught.value)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("7.0.15", (7, 0)),
        ("8.1.0-rc2", (8, 1)),
        ("10.2", (10, 2)),
        ("255.255.255", (255, 255)),
        ("unknown", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int]) -> None:
    """The first two numbers count, and whatever has none is older than all."""
    assert version_of(text) == version


@pytest.mark.parametrize("info", [b"redis_version:6.2.14\r\n", b"# Server\r\n"])
def test_a_server_that_is_too_old_is_refused(info: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that run on a full server came with Redis 7.0; one without a version is refused."""
    monkeypatch.setattr(Server, "ask", lambda _self, *words: info if words[0] == "INFO" else [])
    with pytest.raises(BadSetting, match=r"Penstock needs 7\.0 or newer, or Valkey"):
        check_settings(Server("redis://127.0.0.1:1/0"), r.Durability.LOCAL)


@pytest.mark.parametrize(
    ("info", "version"),
    [
        (b"redis_version:7.0.0\r\n", "7.0.0"),
        (b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n", "8.0.1"),
    ],
)
def test_a_valkey_is_told_as_what_it_is(
    info: bytes, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the Redis that it is like; what is told is its own version."""
    monkeypatch.setattr(Server, "ask", lambda _self, *words: info if words[0] == "INFO" else [])
    facts = check_settings(Server("redis://127.0.0.1:1/0"), r.Durability.LOCAL)
    assert (facts.kind, facts.version) == ("redis", version)


def test_a_wrong_password_is_told_without_it(tmp_path: Path) -> None:
    """Neither the password of the URL nor that of the server is in any error."""
    (tmp_path / "shop.py").write_text("from penstock import App\napp = App()\n")
    with redis_server(tmp_path) as server:
        with closing(server.client()) as client:
            client.config_set("requirepass", SECRET)
        urls = (server.url, server.url.replace("//", f"//:{SECRET}x@"))
        for url in urls:
            with pytest.raises(BadSetting, match="refuses this user or password") as caught:
                RedisBroker.open(url)
            assert_kept(caught.value)
            for words in (["queues"], ["worker", "shop"]):
                told = penstock(*words, folder=tmp_path, env={"PENSTOCK_URL": url})
                assert (told.code, "refuses this user or password" in told.err) == (78, True), told
                assert SECRET not in told.err
        with closing(RedisBroker.open(server.url.replace("//", f"//:{SECRET}@"))) as broker:
            assert PortActor(broker).put()
            assert SECRET not in str(broker.describe())


def test_a_database_that_is_not_there_is_a_mistake_in_the_url(redis: RedisServer) -> None:
    """The server counts its databases; none of a higher number will come to be by waiting."""
    with pytest.raises(BadSetting, match="has no database of this number"):
        RedisBroker.open(redis.url.removesuffix("/0") + "/4711")


def test_a_password_that_changes_under_an_open_broker_passes(tmp_path: Path) -> None:
    """Calls are refused, nothing is written, and once it is back they go on."""
    with redis_server(tmp_path) as server, opened(server) as broker, closing(server.client()) as c:
        client: Any = c
        actor = PortActor(broker)
        assert actor.put()
        client.config_set("requirepass", SECRET)
        client.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
        with pytest.raises(Unavailable, match="refuses this user or password"):
            actor.put()
        client.config_set("requirepass", "")
        assert actor.put()


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/1@127.0.0.1:1/0",
        f"redis://:{SECRET}#1@127.0.0.1:1/0",
        f"redis://:{SECRET}?1@127.0.0.1:1/0",
        f"redis://127.0.0.1:no/0?password={SECRET}",
        f"unix:///nowhere/redis.sock?password={SECRET}",
        f"redis://u:{SECRET}@127.0.0.1:1/0",
    ],
)
def test_no_url_tells_its_secret(url: str) -> None:
    """A URL that names no server, or that is not well written, is told without its password."""
    with pytest.raises((BadSetting, Unavailable)) as caught:
        RedisBroker.open(url)
    assert_kept(caught.value)


def test_a_closed_broker_says_so(redis: RedisServer) -> None:
    """After `close` every call is refused as one of the wrong place."""
    broker = RedisBroker.open(redis.url)
    broker.close()
    for call in (broker.counts, broker.describe, broker.listen):
        with pytest.raises(WrongContext, match="is closed: open a new one"):
            call()


@contextmanager
def opened(
    server: RedisServer, durability: r.Durability = r.Durability.LOCAL
) -> Iterator[RedisBroker]:
    """Open a broker for as long as the block lasts."""
    with closing(RedisBroker.open(server.url, durability=durability)) as broker:
        yield broker


def of_settings(facts: r.BrokerFacts) -> tuple[str, ...]:
    """Return the advice that is not about the server's version, which is none of the test's."""
    return tuple(text for text in facts.advice if "CVE-" not in text)


def wait_replica(server: RedisServer) -> None:
    """Return once a replica follows the server: it has confirmed a write.

    One that is only told to be online may still load what it was sent.
    """
    with closing(server.client()) as client:
        eventually(
            lambda: confirmed_write(client),
            within_s=20,
            what="the replica to confirm a write",
        )


def confirmed_write(client: Any) -> bool:
    """Return whether a replica has what is written now."""
    client.set("probe", 1)
    client.delete("probe")
    return bool(client.wait(1, 500) == 1)


def accepted(broker: RedisBroker, request: r.EnqueueRequest) -> list[r.Accepted]:
    """Return the acceptance of a job, none while its outcome is unknown."""
    try:
        answers = broker.enqueue([request])
    except OutcomeUnknown:
        return []
    return [answer for answer in answers if isinstance(answer, r.Accepted)]


def assert_kept(error: BaseException | None) -> None:
    """Assert that an error, and each that it tells as its cause, is without the secret."""
    while error is not None:
        assert SECRET not in str(error) + repr(error)
        error = error.__cause__
