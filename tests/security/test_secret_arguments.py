"""Secret arguments (SEC22) as the library sees them: sealed, opened, digested, refused."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from penstock import App, Secret, Task, current_job
from penstock.core.ids import JobId
from penstock.core.job import Claimed, JobSpec
from penstock.core.outcome import KeyMissing, Outcome, PayloadUnreadable
from penstock.core.secret import KEY_BYTES, SecretKeys, key_text
from penstock.errors import (
    BadArguments,
    BadSetting,
    DuplicateKey,
    PayloadTooLarge,
    SecretKeyMissing,
    SerializationError,
)
from penstock.serializers.sealing import LeftOpen, Seal, new_key, shown
from penstock.testing import Sandbox
from tests.support.attempt_bench import Bench

#: What must never be seen.
CANARY = "canary-7f3a9e5b"
JOB_ID = JobId("0123456789abcdef0123456789abcdef")
OTHER_ID = JobId("0123456789abcdef0123456789abcdee")
KEY, OLD_KEY = b"k" * KEY_BYTES, b"o" * KEY_BYTES


@dataclass
class Account:
    """A dataclass with a secret in it."""

    user: str
    password: Secret[str]


def task_of(function: Any) -> Task[..., Any]:
    """Return a task of an app whose broker is in memory, and whose keys are set."""
    settings = {"secret_keys": key_text("new", KEY)}
    task: Task[..., Any] = App("memory:", settings=settings).task(function)
    return task


def claimed(payload: bytes, *, job_id: JobId = JOB_ID, task: str = "t") -> Claimed:
    """Return a job as a broker hands it out."""
    spec = JobSpec(task=task, payload=msgspec.Raw(payload))
    job = Bench(App()).claimed(task, payload)
    return msgspec.structs.replace(job, id=job_id, spec=spec)


def test_a_secret_shows_itself_to_nobody() -> None:
    """Text, formats, copies, hashes and comparisons of a Secret hold, and none shows its value."""
    secret = Secret(CANARY)
    words = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{[secret]!r}"]
    words += [repr(Account("me", secret)), "%s %r" % (secret, {"x": secret})]  # noqa: UP031
    assert CANARY not in "".join(words)
    assert f"{secret}" == "•••"
    assert secret.reveal() == CANARY
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret]) == [secret]
    assert (secret == Secret(CANARY), secret == Secret("other"), secret == CANARY) == (
        True, False, False,
    )  # fmt: skip
    assert hash(secret) == hash(Secret(CANARY))
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Secret[str], Secret(CANARY)),
        (Secret[str], CANARY),
        (Secret, Secret(CANARY)),
        (Secret[bytes], Secret(CANARY.encode())),
        (Secret[dict[str, int]], Secret({CANARY: 1})),
        (Secret[str] | None, Secret(CANARY)),
        (Annotated[Secret[str], "note"], Secret(CANARY)),
        (list[Secret[str]], [Secret(CANARY), Secret("b")]),
        (dict[str, Secret[str]], {"a": Secret(CANARY)}),
        (Account, Account("me", Secret(CANARY))),
        (list[Account], [Account("me", Secret(CANARY))]),
        (tuple[int, Secret[str]], (1, Secret(CANARY))),
    ],
    ids=str,
)
def test_a_secret_argument_goes_round_and_is_never_stored(annotation: Any, value: Any) -> None:
    """Whatever holds the Secret comes back as it was given, and the store holds it encrypted."""
    got = []

    def use(n: int, token: Any) -> None:
        got.append((n, token))

    use.__annotations__ = {"n": int, "token": annotation}
    app = App()
    task = app.task(use)
    with Sandbox(app) as sandbox:
        job = task.enqueue(1, value)
        stored = bytes(job.record().spec.payload)
        assert CANARY.encode() not in stored
        assert msgspec.json.decode(shown(msgspec.Raw(stored))) == {"n": 1, "token": "•••"}
        sandbox.drain()
        assert job.status() == "completed", job.record()
    [(n, token)] = got
    expected = Secret(value) if value == CANARY else value
    assert (n, token) == (1, expected)


def test_what_is_no_argument_cannot_hold_a_secret() -> None:
    """Results, progress, checkpoints and parameters without the annotation refuse a Secret."""
    app = App()

    @app.task(retries=0)
    def leaks(token: Secret[str], where: str, other: Any = None) -> Any:
        if where == "result":
            return {"token": token}
        getattr(current_job(), where)([token])
        return None

    with Sandbox(app) as sandbox:
        for where in ("result", "progress", "checkpoint"):
            job = leaks.enqueue(Secret(CANARY), where)
            sandbox.drain()
            record = job.record()
            assert record.state == "dead", record
            assert "a Secret is stored only as an argument" in str(record.error), record
            assert CANARY not in repr(record)
        with pytest.raises(SerializationError, match="a Secret is stored only as an argument"):
            leaks.enqueue(Secret(CANARY), "x", other={"deep": Secret(CANARY)})


def test_an_error_about_arguments_shows_none_of_them() -> None:
    """A call that does not fit its annotations is refused without a word of its values."""
    task = task_of(_takes_number)
    with pytest.raises(BadArguments) as refused:
        task.call(Secret(CANARY))
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


def _takes_number(token: Secret[int]) -> None:
    """Take a number."""


def test_a_box_opens_in_its_own_place_only() -> None:
    """Sealed arguments open for their job and task alone, unchanged, under any key that is set."""
    old, both = SecretKeys([("old", OLD_KEY)]), SecretKeys([("new", KEY), ("old", OLD_KEY)])
    sealed = Seal(old).seal(b'{"n":1}', b'{"token":"x"}', JOB_ID, "t")
    opened = Seal(both).opened(claimed(sealed))
    assert msgspec.json.decode(opened.spec.payload) == {"n": 1, "token": "x"}
    assert b'"key":"new"' in Seal(both).seal(b"{}", b'{"token":"x"}', JOB_ID, "t")
    with pytest.raises(SecretKeyMissing, match=r"'old', which is not set here \(set: new\)"):
        Seal(SecretKeys([("new", KEY)])).opened(claimed(sealed))
    elsewhere = [claimed(sealed, job_id=OTHER_ID), claimed(sealed, task="other")]
    changed = [
        sealed.replace(b'"names":["token"]', b'"names":["other"]'),
        sealed.replace(b'"key":"old"', b'"key":"new"'),
        sealed.replace(b'"box":"', b'"box":"AAAA'),
        b'{"__secret":{"names":["token"],"key":"old","box":""}}',
        b'{"__secret":{"names":["token"],"open":{"token":"x"}}}',
        b'{"__secret":1}',
        b'{"__secret":' + b"[" * 100_000,
    ]
    for job in (*elsewhere, *map(claimed, changed)):
        with pytest.raises((SerializationError, SecretKeyMissing)):
            Seal(both).opened(job)


def test_no_two_boxes_are_alike() -> None:
    """The same arguments of the same job are sealed differently each time."""
    seal = Seal(SecretKeys([("k", KEY)]))
    assert len({seal.seal(b"{}", b'{"t":1}', JOB_ID, "t") for _ in range(50)}) == 50


def test_a_payload_that_only_looks_sealed_is_left_alone() -> None:
    """User data with the field's name inside is plain data: only the first field of all counts."""
    for payload in (b'{"a":{"__secret":1}}', b'{"a":1,"__secret":{}}', b"{}", b"null", b""):
        job = claimed(payload)
        assert Seal(SecretKeys()).opened(job) is job


def test_equal_calls_with_a_key_are_the_same_call() -> None:
    """An idempotency key meets the same secret as the same call, another secret as another one."""
    app = App()

    @app.task
    def use(token: Secret[str]) -> None: ...

    with Sandbox(app) as sandbox:
        first = use.using(key="k").enqueue(Secret(CANARY))
        assert use.using(key="k").enqueue(Secret(CANARY)).id == first.id
        with pytest.raises(DuplicateKey):
            use.using(key="k").enqueue(Secret("other"))
        assert sandbox.drain()


def test_a_digest_of_a_secret_is_keyed() -> None:
    """Nobody can try likely secrets against a stored digest without the key."""
    call = task_of(_takes_text).using(key="k").call(Secret("1234"))
    assert call.digest is not None
    keyed = [Seal(SecretKeys([("a", key)])).digest(call.digest) for key in (KEY, OLD_KEY, KEY)]
    assert keyed[0] == keyed[2]
    assert len({call.digest, *keyed}) == 3


def _takes_text(token: Secret[str]) -> None:
    """Take text."""


def test_without_a_key_nothing_is_enqueued() -> None:
    """A call with a Secret and no key raises, names the way out, and stores nothing."""
    app = App("memory:", settings={"secret_keys": ""})
    task = app.task(_takes_text)
    with pytest.raises(SecretKeyMissing, match="penstock new-key"):
        task.enqueue(Secret(CANARY))
    with pytest.raises(SecretKeyMissing):
        task.using(key="k").enqueue(Secret(CANARY))
    assert not any(one.queued for one in app.broker.counts())


def test_the_cap_counts_what_is_stored() -> None:
    """A payload whose sealed form is over payload_bytes_max is refused before it is sent."""
    settings = {"secret_keys": key_text("k", KEY), "payload_bytes_max": 4096}
    task = App("memory:", settings=settings).task(_takes_text)
    with pytest.raises(PayloadTooLarge):
        task.enqueue(Secret("x" * 3_200))
    job = task.enqueue(Secret("x" * 2_800))
    assert len(bytes(job.record().spec.payload)) < 4_096


@pytest.mark.parametrize(
    ("keys", "outcome"),
    [(SecretKeys(), KeyMissing), (SecretKeys([("k", OLD_KEY)]), PayloadUnreadable)],
    ids=["no key", "another key under its id"],
)
def test_a_job_that_cannot_be_opened_never_runs(keys: SecretKeys, outcome: type[Outcome]) -> None:
    """A worker without the key says which is missing; one with a wrong key buries the job."""
    app = App()
    task = app.task(_takes_text)
    sealed = Seal(SecretKeys([("k", KEY)])).seal(b"{}", b'{"token":"x"}', JOB_ID, task.name)
    ended = Bench(app).run(claimed(sealed, task=task.name), seal=Seal(keys))
    assert isinstance(ended, outcome), ended
    # Both say which key it is, and where keys are set.
    assert "key 'k'" in str(ended), ended
    assert "PENSTOCK_SECRET_KEYS" in str(ended), ended


def test_a_child_leaves_sealing_to_its_supervisor() -> None:
    """What a child enqueues is sealed and its digest keyed before a broker sees it."""
    app = App("memory:")
    task = app.task(_takes_text)
    sent = []

    class Pipe:
        """Keeps what it is asked for."""

        def register(self, queues: Any) -> dict[str, int]:
            return dict.fromkeys(queues, 1)

        def enqueue(self, jobs: Any, **_: Any) -> Any:
            sent.extend(jobs)
            raise BadSetting("enough")

    app.install_enqueuer(Pipe(), sealer=LeftOpen())
    with pytest.raises(BadSetting, match="enough"):
        task.using(key="k").enqueue(Secret(CANARY))
    seal = Seal(SecretKeys([("k", KEY)]))
    sealed = seal.seal_open(sent[0])
    assert CANARY.encode() not in bytes(sealed.spec.payload)
    direct = task.using(key="k").call(Secret(CANARY))
    assert direct.digest is not None
    assert sealed.key_digest == seal.digest(direct.digest)
    opened = seal.opened(claimed(bytes(sealed.spec.payload), job_id=sealed.id, task=task.name))
    assert msgspec.json.decode(opened.spec.payload) == {"token": CANARY}
    with pytest.raises(SerializationError, match="sealed already"):
        seal.seal_open(sealed)
    with pytest.raises(SecretKeyMissing):
        Seal(SecretKeys()).seal_open(sent[0])


def test_keys_are_read_and_never_shown() -> None:
    """The setting takes keys with ids; what is wrong is refused without showing any of it."""
    text = f"{key_text('b', KEY)}, {key_text('a', OLD_KEY)}"
    keys = SecretKeys.parse(text)
    assert (keys.ids, keys.current, keys.find("a")) == (("b", "a"), "b", OLD_KEY)
    assert "a, b" not in repr(keys)
    assert not SecretKeys.parse("")
    shown_key = key_text("x", KEY).partition(":")[2]
    bad = [shown_key, f":{shown_key}", f"a b:{shown_key}", f"x:{shown_key[:-8]}", "x:%%%", "x:"]
    bad += [f"{key_text('a', KEY)},{key_text('a', OLD_KEY)}", f"{key_text('a', KEY)},"]
    for wrong in bad:
        with pytest.raises(BadSetting) as refused:
            SecretKeys.parse(wrong)
        assert shown_key[:12] not in str(refused.value)
    with pytest.raises(BadSetting):
        key_text("a:b", os.urandom(KEY_BYTES))
    assert len(new_key()) == KEY_BYTES


def test_without_the_library_a_job_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without the optional library takes it as a key it has not: no job is buried."""
    app = App()
    task = app.task(_takes_text)
    keys = SecretKeys([("k", KEY)])
    sealed = Seal(keys).seal(b"{}", b'{"token":"x"}', JOB_ID, task.name)
    for name in ("", ".exceptions", ".hazmat.primitives.ciphers.aead"):
        monkeypatch.setitem(sys.modules, f"cryptography{name}", None)
    for set_here, words in ((keys, r"penstock\[encryption\]"), (SecretKeys(), "key 'k'")):
        with pytest.raises(SecretKeyMissing, match=words):
            Seal(set_here).opened(claimed(sealed, task=task.name))
        ended = Bench(app).run(claimed(sealed, task=task.name), seal=Seal(set_here))
        assert isinstance(ended, KeyMissing), ended
