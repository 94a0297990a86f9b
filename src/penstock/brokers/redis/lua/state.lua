-- state: in which state a job is, and how it enters a ready set.
--
-- State is membership: a job is in exactly one of `run`, `done`, `blocked`, `due`, or else in a ready
-- set. A field would be a second write at each step, and could disagree.

local STATE_OF = {c = 'completed', d = 'dead', x = 'cancelled', e = 'expired'}

-- What of a job may change while it waits: n (claim number), need, due, arrival, expires, charges,
-- retry, cancel, note, reason. Absent: as the spec says.
local function more_of(queue, short)
  local stored = redis.call('HGET', queue.more, short)
  return stored and cjson.decode(stored) or {}
end

local function keep_more(queue, short, more)
  redis.call('HSET', queue.more, short, cjson.encode(more))
  mark(queue, 'has_more')
end

-- State of a job that is known, and what stands in `run` or `done`.
local function state_of(queue, short, more)
  local running = redis.call('HGET', queue.run, short)
  if running then
    return 'running', running
  end
  local done = redis.call('HGET', queue.done, short)
  if done then
    return STATE_OF[string.sub(done, 1, 1)], nil, done
  end
  if redis.call('HEXISTS', queue.blocked, short) == 1 then
    return 'blocked'
  end
  if redis.call('ZSCORE', queue.due, short) then
    return more.retry and 'retrying' or 'scheduled'
  end
  return 'queued'
end

-- Entry in a ready set: rank as core/rank.py has it, in seven bytes, then the job.
local function ready_entry(priority, arrival, short)
  return string.char(10 - priority) .. bytes_of(arrival) .. short
end

-- Put rising entries into a ready set.
local function make_ready(queue, need, entries)
  if put(key_of(queue, 'ready', need), entries) then
    redis.call('SADD', queue.needs, need)
  end
  made_claimable(queue, need, #entries)
end
