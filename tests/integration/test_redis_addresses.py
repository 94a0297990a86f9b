"""Every way to write where a Redis server is, for calls that block and for those of a loop."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock.broker import requests as r
from penstock.broker.protocol import AsyncBroker
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.redis import RedisBroker
from penstock.brokers.redis.loop_broker import RedisLoopBroker
from penstock.errors import Unavailable
from tests.support.free_port import free_port
from tests.support.port_actor import PortActor
from tests.support.redis_server import redis_server

#: Seconds for a wake-up that should come.
SOON_S = 30.0


class Certificate(NamedTuple):
    """Files of a certificate of 127.0.0.1 that signs itself."""

    cert: str
    key: str


def certificate(folder: Path) -> Certificate:
    """Make a certificate."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is missing: apt-get install openssl"
    made = Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))
    subprocess.run(
        [
            program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", made.key, "-out", made.cert,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


def use_both_faces(url: str) -> type[AsyncBroker]:
    """Enqueue by a blocking call, wake a listener by an awaited one; return the class of the face.

    The answers are larger than one read, and than a record of TLS.
    """

    async def use(broker: RedisBroker) -> type[AsyncBroker]:
        face = broker.loop_face()
        actor = PortActor(broker)
        listener = await face.listen()
        request = actor.claim_request(actor.lease(), limit=1, wake_token=listener.token)
        assert not (await face.claim(request)).jobs
        requests = [actor.request() for _ in range(500)]
        assert len(await face.enqueue(requests[:250])) == 250
        assert listener.wait(SOON_S)
        listener.close()
        assert len(broker.enqueue(requests[250:])) == 500 - 250
        page = await face.list_jobs(r.JobFilter(), limit=500, before=None)
        assert page == broker.list_jobs(r.JobFilter(), limit=500, before=None)
        assert [job.id for job in page.jobs] == [one.id for one in reversed(requests)]
        return type(face)

    with closing(RedisBroker.open(url)) as broker:
        return asyncio.run(use(broker))


def test_a_socket_in_the_file_system_is_reached(tmp_path: Path) -> None:
    """`unix://` serves both faces, with password and database."""
    path = tmp_path / "redis.sock"
    with (
        redis_server(tmp_path, "--unixsocket", str(path)) as made,
        closing(made.client()) as client,
    ):
        client.config_set("requirepass", "secret")
        client.auth("secret")
        assert use_both_faces(f"unix://:secret@{path}?db=3") is RedisLoopBroker
        assert list(client.info("keyspace")) == ["db3"]


def test_user_password_and_database_are_read(tmp_path: Path) -> None:
    """They stand in the URL of a TCP address, percent-encoded, and serve both faces."""
    with redis_server(tmp_path) as made, closing(made.client()) as client:
        client.acl_setuser(
            "a:b", enabled=True, passwords=["+p@ss/word"], keys=["*"], channels=["*"],
            commands=["+@all"],
        )  # fmt: skip
        url = f"redis://a%3Ab:p%40ss%2Fword@127.0.0.1:{made.port}/5"
        assert use_both_faces(url) is RedisLoopBroker
        assert list(client.info("keyspace")) == ["db5"]


def test_a_connection_over_tls_is_left_to_a_thread(tmp_path: Path) -> None:
    """`rediss://` serves both faces, checks the certificate, and needs no connection of a loop."""
    made = certificate(tmp_path)
    port = free_port()
    files = ("--tls-cert-file", made.cert, "--tls-key-file", made.key)
    clients = ("--tls-ca-cert-file", made.cert, "--tls-auth-clients", "no")
    with redis_server(tmp_path, "--tls-port", str(port), *files, *clients):
        url = f"rediss://127.0.0.1:{port}/2"
        assert use_both_faces(f"{url}?ssl_ca_certs={made.cert}") is ThreadedBroker
        with closing(RedisBroker.open(f"{url}?ssl_ca_certs={made.cert}")) as broker:
            assert broker.loop_face() is broker.loop_face(), "one thread, however many loops"
        with pytest.raises(Unavailable, match="certificate"):
            RedisBroker.open(url)
