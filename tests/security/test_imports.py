"""Nothing that the library or a worker imports on its paths is used to read data as code (SEC11).

`tests/repo` keeps the formats out of our own source; here it is what really is loaded, by a process
that enqueues and by one that runs jobs, and what in it names a reader of such a format.
"""

from __future__ import annotations

import subprocess
import sys

#: Formats that run code when they are read. The standard library loads `pickle` for others
#: (multiprocessing, asyncio's pools) and reads its own byte code by `marshal`: the first is held to
#: not being called, the second stands in no source of ours.
FORBIDDEN = ("yaml", "shelve", "dill", "cloudpickle", "jsonpickle", "_pickle_compat")
#: Runs a job of each kind with every reader of such a format replaced by one that ends the process.
PROGRAM = """
import os, pickle, sys

def refused(*_args, **_kwargs):
    os.write(2, b"data was read as code\\n")
    os._exit(3)

from penstock import App, Secret
from penstock.testing import Sandbox
from penstock.worker.child import service as child
from penstock.worker.runner import service as runner
from penstock.worker.supervisor import supervisor
from penstock.brokers import postgres, redis, sqlite
import penstock.cli.main

for module in (pickle, sys.modules.get("_pickle")):
    for name in ("load", "loads", "Unpickler"):
        setattr(module, name, refused)
app = App(sys.argv[1], settings={"secret_keys": "k:" + "A" * 43 + "="})

@app.task
def plain(token: Secret[str], data: dict[str, list[int]]) -> dict[str, list[int]]:
    return data

@app.task(retries=1)
async def failing(text: str) -> None:
    raise ValueError(text)

plain.enqueue(Secret("x"), {"a": [1]})
with Sandbox(app) as sandbox:
    job = plain.enqueue(Secret("x"), {"a": [1]})
    failing.enqueue("y")
    sandbox.drain()
    assert job.result() == {"a": [1]}
app.close()
print(" ".join(sorted(sys.modules)))
"""


def run(program: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own."""
    command = [sys.executable, "-c", program, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_no_reader_of_code_is_loaded_or_called(tmp_path: object) -> None:
    """Jobs are enqueued, stored, run and failed without one; none of the formats is loaded."""
    ended = run(PROGRAM, f"sqlite:///{tmp_path}/p.db")
    assert ended.returncode == 0, ended.stderr
    loaded = {name.split(".")[0] for name in ended.stdout.split()}
    assert len(loaded) > 50
    assert loaded.isdisjoint(FORBIDDEN)
    planted = PROGRAM.replace("app.close()", "pickle.loads(pickle.dumps(1))")
    assert run(planted, f"sqlite:///{tmp_path}/q.db").returncode == 3
