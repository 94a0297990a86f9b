"""The bare cycle on Redis: no library, just what a worker cannot do without. For draining alone.

It shows what one script per round trip can reach here in one process of Python: asyncio on uvloop,
redis-py with hiredis, msgspec, an asyncio task for each job. A record per job in a hash, ready jobs
in a sorted set for each of 16 needs, the fence of each claim checked when its jobs are settled,
results in a hash, counters, an index for retention, waking by pub/sub.

What it leaves out is what a job queue is made of: leases and what follows from their end, answers
to repeated calls, status by id, retries and charges, parents, keys, due times, deadlines, limits of
any kind, events, logs, more than one queue, and a worker that survives its own death.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import contract
import msgspec
import redis.asyncio
import uvloop
from contract import QUEUES, URL, Argument, note_start

#: Jobs of one claim, and jobs in the worker at once.
BATCH = 200
SLOTS = 400
PRIORITY = 5
#: What a priority spans in a score.
BAND = 2**48
ROOT = f"sketch:{{{QUEUES[0]}}}"
WAKE = f"{ROOT}:wake"

#: ARGV: need; then score, id and record of each job.
FILL = """
local root, need = KEYS[1], ARGV[1]
local records, ready = {}, {}
for at = 2, #ARGV, 3 do
  ready[#ready + 1] = ARGV[at]
  ready[#ready + 1] = ARGV[at + 1]
  records[#records + 1] = ARGV[at + 1]
  records[#records + 1] = ARGV[at + 2]
end
redis.call('HSET', root .. ':record', unpack(records))
redis.call('ZADD', root .. ':ready:' .. need, unpack(ready))
redis.call('HINCRBY', root .. ':count', 'queued', #ready / 2)
redis.call('PUBLISH', root .. ':wake', '')
"""
#: ARGV: fence of this claim, most jobs to claim; then id, fence and result of each finished job.
#: Answer: id and record of each job that was claimed.
CYCLE = """
local NEEDS = 16
local root, fence, wanted = KEYS[1], ARGV[1], tonumber(ARGV[2])

local function settle()
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local ids = {}
  for at = 3, #ARGV, 3 do
    ids[#ids + 1] = ARGV[at]
  end
  local fences = redis.call('HMGET', root .. ':run', unpack(ids))
  local gone, results, final = {}, {}, {}
  for place, id in ipairs(ids) do
    local at = 3 * place
    if fences[place] == ARGV[at + 1] then
      gone[#gone + 1] = id
      results[#results + 1] = id
      results[#results + 1] = ARGV[at + 2]
      final[#final + 1] = now
      final[#final + 1] = id
    end
  end
  if #gone > 0 then
    redis.call('HDEL', root .. ':run', unpack(gone))
    redis.call('HDEL', root .. ':record', unpack(gone))
    redis.call('HSET', root .. ':result', unpack(results))
    redis.call('ZADD', root .. ':final', unpack(final))
    redis.call('HINCRBY', root .. ':count', 'running', -#gone)
    redis.call('HINCRBY', root .. ':count', 'completed', #gone)
  end
end

-- The ready set whose first job comes first.
local function best_set()
  local best, lowest
  for need = 0, NEEDS - 1 do
    local key = root .. ':ready:' .. need
    local score = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if score and (not lowest or score < lowest) then
      best, lowest = key, score
    end
  end
  return best
end

local function claim()
  local key = wanted > 0 and best_set()
  if not key then
    return {}
  end
  local popped = redis.call('ZPOPMIN', key, wanted)
  local ids, runs, answer = {}, {}, {}
  for at = 1, #popped, 2 do
    ids[#ids + 1] = popped[at]
    runs[at], runs[at + 1] = popped[at], fence
  end
  redis.call('HSET', root .. ':run', unpack(runs))
  redis.call('HINCRBY', root .. ':count', 'queued', -#ids)
  redis.call('HINCRBY', root .. ':count', 'running', #ids)
  for place, record in ipairs(redis.call('HMGET', root .. ':record', unpack(ids))) do
    answer[2 * place - 1], answer[2 * place] = ids[place], record
  end
  return answer
end

if #ARGV > 2 then
  settle()
end
return claim()
"""


class Record(msgspec.Struct):
    """A job as it is stored."""

    task: str
    argument: Argument


class Result(msgspec.Struct):
    """What is kept of a job."""

    outcome: str
    value: Any


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode


class Peer(contract.Peer):
    """The store of this process."""

    async def open(self) -> None:
        """Connect."""
        self._client = redis.asyncio.from_url(URL)
        self._fill = self._client.register_script(FILL)

    async def close(self) -> None:
        """Let go."""
        await self._client.aclose()

    async def aenqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in with one call."""
        words: list[Any] = [0]
        score = PRIORITY * BAND + time.time_ns() // 1_000_000
        for argument in arguments:
            # The order of ids is that of arrival where scores are the same.
            start = argument["id"].to_bytes(6, "big")
            words += [score, start + os.urandom(10), encode(Record("noop", argument))]
        await self._fill(keys=[ROOT], args=words)


async def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


TASKS = {"noop": noop}


class Worker:
    """One round trip after the other; jobs run while the server works."""

    def __init__(self, client: Any) -> None:
        """Nothing runs yet."""
        self._client = client
        self._cycle = client.register_script(CYCLE)
        self._finished: list[bytes] = []
        self._running: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def work(self) -> None:
        """Settle and claim until cancelled."""
        while True:
            self._news.clear()
            finished, self._finished = self._finished, []
            fence = os.urandom(16)
            wanted = min(BATCH, SLOTS - len(self._running))
            claimed = await self._cycle(keys=[ROOT], args=[fence, wanted, *finished])
            for job, record in zip(claimed[::2], claimed[1::2], strict=True):
                task = asyncio.create_task(self._run(job, fence, record))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if claimed:
                await asyncio.sleep(0)
            else:
                await self._news.wait()

    async def _run(self, job: bytes, fence: bytes, record: bytes) -> None:
        spec = decode(record)
        value = await TASKS[spec.task](spec.argument)
        self._finished += [job, fence, encode(Result("succeeded", value))]
        self._news.set()

    async def listen(self) -> None:
        """Wake the worker when jobs arrive."""
        async with self._client.pubsub() as channel:
            await channel.subscribe(WAKE)
            async for _ in channel.listen():
                self._news.set()


async def main() -> None:
    """Work until interrupted."""
    client = redis.asyncio.from_url(URL)
    worker = Worker(client)
    parts = [asyncio.create_task(part()) for part in (worker.work, worker.listen)]
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, parts[0].cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await parts[0]
    parts[1].cancel()
    await client.aclose()


if __name__ == "__main__":
    uvloop.run(main())
