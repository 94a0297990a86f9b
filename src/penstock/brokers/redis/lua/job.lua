-- job: how a job is read, and moved from one state into another.
--
-- What stands for it in the keys of its queue is `job.short`; what others know is `job.id`.

local LETTER_OF = {completed = 'c', dead = 'd', cancelled = 'x', expired = 'e'}

-- Numbers of a head that scripts can go on with: an instant fits into six bytes.
local function is_instant(value)
  return value and value >= 0 and value < 281474976710656
end

-- Hazard: whatever stands there may be foreign. A script that fails half way is not rolled back, so that
-- a head which cannot be read is answered as that of a usual job; the worker buries it for its flaw.
local function unread(id)
  return {priority = 5, need = 'shared', enqueued = number_at(id, 1)}
end

-- What was asked for: the head of the stored spec. '.' stands for a job without a time to live of its
-- result, with priority 5, need `shared`, no deadline and no due time. The instant of the enqueue is
-- its distance from that in the id. Each byte here is one for every job.
local function asked_of(id, stored)
  local later = string.match(stored, '^%.(%-?%d+);')
  if later then
    local enqueued = number_at(id, 1) + tonumber(later)
    return is_instant(enqueued) and {priority = 5, need = 'shared', enqueued = enqueued} or unread(id)
  end
  local ttl, priority, need, expires_ms, distance, due =
    string.match(stored, '^(%d*);(%d*);([^;]*);(%d*);(%-?%d+);(%d*);')
  local asked = distance and {
    result_ttl = tonumber(ttl), priority = tonumber(priority) or 5,
    need = need == '' and 'shared' or need, expires_ms = tonumber(expires_ms),
    enqueued = number_at(id, 1) + tonumber(distance), due = tonumber(due),
  }
  local is_good = asked and asked.priority <= 10 and (asked.expires_ms or 0) < 1e19
    and is_instant(asked.enqueued) and is_instant(asked.due or 0)
  return is_good and asked or unread(id)
end

-- Entry among the jobs that ended so: when, then the job.
local function final_entry(instant, short)
  return bytes_of(instant) .. short
end

-- Everything that decides about one job; nil where it is unknown.
local function load(id)
  local queue, short = queue_of(id), short_of(id)
  local stored = queue and redis.call('HGET', queue.spec, short)
  if not stored then
    return nil
  end
  local job = {id = id, short = short, queue = queue, stored = stored, asked = asked_of(id, stored)}
  job.more = more_of(queue, short)
  job.state, job.run, job.done = state_of(queue, short, job.more)
  return job
end

local function need_of(job)
  return job.more.need or job.asked.need
end

local function arrival_of(job)
  return job.more.arrival or job.asked.enqueued
end

-- When it is due; nil where it never had to wait. 0 in `more` stands for never.
local function due_of(job)
  local due = job.more.due or job.asked.due
  return due ~= 0 and due or nil
end

-- A running job: fence (16), lease (16), entry of its ready set without the job (7), and the tail that
-- a final job keeps: '!' where the result has a time to live, else '.'; then claim number, that time,
-- instant of the claim, pid, worker.
local function fence_of(run)
  return string.sub(run, 1, 16)
end

local function lease_of(run)
  return string.sub(run, 17, 32)
end

local function attempt_of(run)
  local n, ttl, claimed, pid, worker = string.match(run, '^.(%d+);(%d*);(%d+);(%d+);(.*)$', 40)
  return {
    ttl = tonumber(ttl), arrival = number_at(run, 34), claimed = tonumber(claimed),
    n = tonumber(n), pid = tonumber(pid), worker = worker,
  }
end

-- Instant, reason, tail and blob of a final job.
local function end_of(done)
  local finished, reason, tail, blob = string.match(done, '^.(%d+);([^;]*);([^\n]*)\n()')
  return tonumber(finished), reason, tail, string.sub(done, blob)
end

local function blob_of(pid, outcome, message, dropped, result)
  return pid .. ';' .. outcome .. ';' .. dropped .. ';' .. #message .. ';' .. message .. result
end

-- What a settlement leaves behind, without its result, which is told as dropped.
local function without_result(blob)
  local pid, outcome, size, text = string.match(blob, '^(%d*);([^;]*);[01];(%d+);()')
  return blob_of(pid, outcome, string.sub(blob, text, text + tonumber(size) - 1), '1', '')
end

-- Take a job out of its ready set. Where the entry does not stand where the head of its spec says, that
-- head is not the one it was enqueued with: it is looked for, since a claim would hand it out again.
-- cost: a read of the whole backlog of the queue, for a job whose spec was written over.
local function leave_ready(job)
  local queue, short = job.queue, job.short
  local entry = ready_entry(job.asked.priority, arrival_of(job), short)
  if take_out(key_of(queue, 'ready', need_of(job)), entry) then
    return
  end
  for _, need in ipairs(redis.call('SMEMBERS', queue.needs)) do
    local index = key_of(queue, 'ready', need)
    local found = entry_ending(index, short)
    if found then
      take_out(index, found)
    end
  end
end

-- Take a job out of the indexes of its state; `enter` or `finish` must follow.
local function leave(job)
  local queue, short = job.queue, job.short
  moved(queue, job.state, -1)
  if job.state == 'queued' then
    leave_ready(job)
  elseif job.state == 'scheduled' or job.state == 'retrying' then
    redis.call('ZREM', queue.due, short)
  elseif job.state == 'blocked' then
    redis.call('HDEL', queue.blocked, short)
  elseif job.state == 'running' then
    local lease = lease_key(lease_of(job.run))
    redis.call('HDEL', queue.run, short)
    redis.call('HINCRBY', lease, 'running', -1)
    redis.call('HDEL', lease .. ':cancels', job.id)
  else
    local finished = end_of(job.done)
    redis.call('HDEL', queue.done, short)
    take_out(key_of(queue, 'final', job.state), final_entry(finished, short))
    redis.call('ZREM', queue.result, short)
  end
end

-- Put a job into the indexes of a waiting state, after its record was changed.
local function enter(job, state)
  local queue, short = job.queue, job.short
  job.state = state
  moved(queue, state, 1)
  job.more.retry = state == 'retrying' or nil
  keep_more(queue, short, job.more)
  if state == 'queued' then
    local need = need_of(job)
    make_ready(queue, need, {ready_entry(job.asked.priority, arrival_of(job), short)})
  elseif state == 'blocked' then
    redis.call('HSET', queue.blocked, short, job.left)
  else
    redis.call('ZADD', queue.due, due_of(job), short)
  end
end
