-- store: the keys, how a job is read and moved, and who is woken. Part of every script.
--
-- KEYS[1] is the root of all keys; those of a queue follow from the tag in a job's id. Numbers are
-- turned into text by `int` alone: `..` writes large ones as 1.75e+14.

local root = KEYS[1]
local at = 0

local function arg()
  at = at + 1
  return ARGV[at]
end

local function number()
  return tonumber(arg())
end

local function int(value)
  return string.format('%.0f', value)
end

local queues = {}
local names = {}

-- The keys of one queue.
local function queue_named(name)
  local queue = queues[name]
  if not queue then
    local prefix = root .. ':{' .. name .. '}:'
    queue = {
      name = name, prefix = prefix, spec = prefix .. 'spec', run = prefix .. 'run',
      done = prefix .. 'done', more = prefix .. 'more', blocked = prefix .. 'blocked',
      due = prefix .. 'due', deadline = prefix .. 'deadline', needs = prefix .. 'needs',
      count = prefix .. 'count', result = prefix .. 'result', parents = prefix .. 'parents',
      has_kids = prefix .. 'has_kids', pages = prefix .. 'pages', ready = prefix .. 'ready:',
      wait = prefix .. 'wait:', final = prefix .. 'final:', attempts = prefix .. 'attempts:',
      note = prefix .. 'note:', log = prefix .. 'log:', kids = prefix .. 'kids:',
      page = prefix .. 'page:', fresh = {},
    }
    queues[name] = queue
  end
  return queue
end

-- The queue that an id names; nil where its tag was never given.
local function queue_of(id)
  local high, low = string.byte(id, 9, 10)
  local tag = high * 256 + low
  local name = names[tag]
  if name == nil then
    name = redis.call('HGET', root .. ':tags', tag)
    names[tag] = name
  end
  return name and queue_named(name)
end

local function lease_key(id)
  return root .. ':lease:' .. id
end

local STATE_OF = {c = 'completed', d = 'dead', x = 'cancelled', e = 'expired'}
local LETTER_OF = {completed = 'c', dead = 'd', cancelled = 'x', expired = 'e'}

-- What of a job may change while it waits: n (claim number), need, due, arrival, expires, charges,
-- retry, cancel, note, reason. Absent: as the spec says.
local function more_of(queue, id)
  local stored = redis.call('HGET', queue.more, id)
  return stored and cjson.decode(stored) or {}
end

local function keep_more(queue, id, more)
  redis.call('HSET', queue.more, id, cjson.encode(more))
end

-- The instant that an id carries, by its maker's clock.
local function made_at(id)
  local a, b, c, d, e, f = string.byte(id, 1, 6)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end

-- What was asked for: the head of the stored spec. Absent: priority 5, need `shared`; the instant of
-- the enqueue stands as its distance from that in the id. Each byte here is one for every job.
local function asked_of(id, stored)
  local ttl, priority, need, expires_ms, later, due =
    string.match(stored, '^(%d*);(%d*);([^;]*);(%d*);(%-?%d+);(%d*);')
  return {
    result_ttl = tonumber(ttl), priority = tonumber(priority) or 5,
    need = need == '' and 'shared' or need, expires_ms = tonumber(expires_ms),
    enqueued = made_at(id) + tonumber(later), due = tonumber(due),
  }
end

local BAND = 281474976710656

-- Place in a ready set, as core/rank.py has it.
local function rank_of(priority, arrival)
  return (10 - priority) * BAND + arrival
end

-- Everything that decides about one job; nil where it is unknown.
local function load(id)
  local queue = queue_of(id)
  local stored = queue and redis.call('HGET', queue.spec, id)
  if not stored then
    return nil
  end
  local job = {id = id, queue = queue, stored = stored, asked = asked_of(id, stored)}
  job.more = more_of(queue, id)
  job.run = redis.call('HGET', queue.run, id)
  if job.run then
    job.state = 'running'
    return job
  end
  job.done = redis.call('HGET', queue.done, id)
  if job.done then
    job.state = STATE_OF[string.sub(job.done, 1, 1)]
  elseif redis.call('HEXISTS', queue.blocked, id) == 1 then
    job.state = 'blocked'
  elseif redis.call('ZSCORE', queue.due, id) then
    job.state = job.more.retry and 'retrying' or 'scheduled'
  else
    job.state = 'queued'
  end
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

local function expires_of(job)
  if job.more.expires then
    return job.more.expires
  end
  return job.asked.expires_ms and job.asked.enqueued + job.asked.expires_ms
end

-- The parts of what stands behind fence and lease of a running job, and behind the state of a
-- final one: result ttl, arrival, instant of the claim, claim number, pid, worker.
local function attempt_of(tail)
  local ttl, arrival, claimed, n, pid, worker = string.match(tail, '^(%d*);(%d+);(%d+);(%d+);(%d+);(.*)$')
  return ttl and {
    ttl = tonumber(ttl), arrival = tonumber(arrival), claimed = tonumber(claimed), n = tonumber(n),
    pid = tonumber(pid), worker = worker,
  }
end

local function fence_of(run)
  return string.sub(run, 1, 16)
end

local function lease_of(run)
  return string.sub(run, 17, 32)
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

local function moved(queue, before, after, jobs)
  local delta = queue.delta
  if not delta then
    delta = {}
    queue.delta = delta
  end
  if before then
    delta[before] = (delta[before] or 0) - jobs
  end
  if after then
    delta[after] = (delta[after] or 0) + jobs
  end
end

local function made_claimable(queue, need, jobs)
  queue.fresh[need] = (queue.fresh[need] or 0) + jobs
end

-- Take a job out of the indexes of its state; `enter` or `finish` must follow.
local function leave(job)
  local queue, id = job.queue, job.id
  moved(queue, job.state, nil, 1)
  if job.state == 'queued' then
    redis.call('ZREM', queue.ready .. need_of(job), id)
  elseif job.state == 'scheduled' or job.state == 'retrying' then
    redis.call('ZREM', queue.due, id)
  elseif job.state == 'blocked' then
    redis.call('HDEL', queue.blocked, id)
  elseif job.state == 'running' then
    local lease = lease_key(lease_of(job.run))
    redis.call('HDEL', queue.run, id)
    redis.call('HINCRBY', lease, 'running', -1)
    redis.call('HDEL', lease .. ':cancels', id)
  else
    redis.call('HDEL', queue.done, id)
    redis.call('ZREM', queue.final .. job.state, id)
    redis.call('ZREM', queue.result, id)
  end
end

-- Put a job into the indexes of a waiting state, after its record was changed.
local function enter(job, state)
  local queue, id = job.queue, job.id
  job.state = state
  moved(queue, nil, state, 1)
  job.more.retry = state == 'retrying' or nil
  keep_more(queue, id, job.more)
  if state == 'queued' then
    local need = need_of(job)
    redis.call('ZADD', queue.ready .. need, rank_of(job.asked.priority, arrival_of(job)), id)
    redis.call('SADD', queue.needs, need)
    made_claimable(queue, need, 1)
  elseif state == 'blocked' then
    redis.call('HSET', queue.blocked, id, job.left)
  else
    redis.call('ZADD', queue.due, due_of(job), id)
  end
end

-- Family.

-- How many parents hold a job back, and how many of them have failed.
local function held_back_by(parents)
  local held, broken = 0, 0
  for place = 1, #parents, 17 do
    local parent = load(string.sub(parents, place, place + 15))
    local ignores = string.sub(parents, place + 16, place + 16) == '1'
    if parent and parent.state ~= 'completed' then
      if not parent.done then
        held = held + 1
      elseif not ignores then
        held = held + 1
        broken = broken + 1
      end
    end
  end
  return held, broken
end

local function parents_of(queue, id)
  return redis.call('HGET', queue.parents, id) or ''
end

-- (child, whether its edge ignores failure) of each edge to a job, as one flat list.
local function kids_of(queue, id)
  if redis.call('SISMEMBER', queue.has_kids, id) == 0 then
    return {}
  end
  return redis.call('HGETALL', queue.kids .. id)
end

local function count_down(child, now)
  local left = redis.call('HINCRBY', child.queue.blocked, child.id, -1)
  if left > 0 then -- Guard: last parent
    return
  end
  leave(child)
  local due = due_of(child)
  if due and due > now then -- Guard: not before it is due
    enter(child, 'scheduled')
    return
  end
  child.more.arrival = now
  enter(child, 'queued')
end

-- Tell the children of a job that has ended; return those that end with it.
local function tell_kids(queue, id, state, now)
  local ended = {}
  local kids = kids_of(queue, id)
  for place = 1, #kids, 2 do
    local child = load(kids[place])
    if child and child.state == 'blocked' then -- Guard: only blocked children
      if state ~= 'completed' and kids[place + 1] == '0' then
        ended[#ended + 1] = child.id
      else
        count_down(child, now)
      end
    end
  end
  return ended
end

-- Make one job final, without its children.
local function end_one(job, state, reason, now, blob)
  local queue, id = job.queue, job.id
  local tail = job.run and string.sub(job.run, 33) or ''
  leave(job)
  moved(queue, nil, state, 1)
  if next(job.more) then
    job.more.cancel = nil
    job.more.retry = nil
    keep_more(queue, id, job.more)
  end
  job.done = LETTER_OF[state] .. int(now) .. ';' .. reason .. ';' .. tail .. '\n' .. blob
  job.state = state
  redis.call('HSET', queue.done, id, job.done)
  redis.call('ZADD', queue.final .. state, now, id)
  redis.call('ZREM', queue.deadline, id)
end

-- Cancel children that a failed parent takes down, and theirs.
local function cancel_kids(ids, now)
  local todo = ids
  while #todo > 0 do
    local child = load(table.remove(todo))
    if child.state == 'blocked' then
      end_one(child, 'cancelled', 'parent_failed', now, '')
      local ended = tell_kids(child.queue, child.id, 'cancelled', now)
      -- Older ones first: a child reached by two ways stands here twice, and ends once.
      for place = #ended, 1, -1 do
        todo[#todo + 1] = ended[place]
      end
    end
  end
end

-- Make a job final, and tell its children.
local function finish(job, state, reason, now, blob)
  end_one(job, state, reason, now, blob)
  cancel_kids(tell_kids(job.queue, job.id, state, now), now)
end

-- Pages of ids: every id of a queue in order, in sorted sets small enough for the compact encoding
-- (zset-max-listpack-entries 128), at about 20 bytes an id. `pages` has the first id of each.

local PAGE_MAX = 128

local function page_for(queue, id)
  return redis.call('ZREVRANGEBYLEX', queue.pages, '[' .. id, '-', 'LIMIT', 0, 1)[1]
end

local function add_to_page(queue, first, ids, from, to)
  local entries = {}
  for place = from, to do
    entries[#entries + 1] = 0
    entries[#entries + 1] = ids[place]
  end
  redis.call('ZADD', queue.page .. first, unpack(entries))
end

local function split_page(queue, first)
  local ids = redis.call('ZRANGE', queue.page .. first, PAGE_MAX / 2, -1)
  redis.call('ZREM', queue.page .. first, unpack(ids))
  redis.call('ZADD', queue.pages, 0, ids[1])
  add_to_page(queue, ids[1], ids, 1, #ids)
end

local function add_one_id(queue, id)
  local first = page_for(queue, id)
  if not first then
    redis.call('ZADD', queue.pages, 0, id)
    first = id
  end
  redis.call('ZADD', queue.page .. first, 0, id)
  if redis.call('ZCARD', queue.page .. first) > PAGE_MAX then
    split_page(queue, first)
  end
end

-- Note the ids of new jobs; a run of rising ids behind all others goes in page by page.
local function add_ids(queue, ids)
  table.sort(ids)
  local last = redis.call('ZREVRANGE', queue.pages, 0, 0)[1]
  local from = 1
  if last then
    local newest = redis.call('ZREVRANGE', queue.page .. last, 0, 0)[1]
    if ids[1] < newest then
      for _, id in ipairs(ids) do
        add_one_id(queue, id)
      end
      return
    end
    local room = PAGE_MAX - redis.call('ZCARD', queue.page .. last)
    if room > 0 then
      local to = math.min(#ids, room)
      add_to_page(queue, last, ids, 1, to)
      from = to + 1
    end
  end
  while from <= #ids do
    local to = math.min(#ids, from + PAGE_MAX - 1)
    redis.call('ZADD', queue.pages, 0, ids[from])
    add_to_page(queue, ids[from], ids, from, to)
    from = to + 1
  end
end

local function forget_id(queue, id)
  local first = page_for(queue, id)
  redis.call('ZREM', queue.page .. first, id)
  if redis.call('EXISTS', queue.page .. first) == 0 then
    redis.call('ZREM', queue.pages, first)
  end
end

-- Leases.

-- What a claim must know of a lease; nil unless it is known, not closed, and has time left.
local function good_lease(id)
  local found = redis.call('HMGET', lease_key(id), 'expires', 'closed', 'queues', 'pid', 'worker')
  if not found[1] then
    return nil
  end
  if found[2] == '1' then -- Guard: lease is open
    return nil
  end
  if tonumber(found[1]) <= lease_ms() then -- Guard: lease has time left
    return nil
  end
  return {id = id, queues = found[3], pid = found[4], worker = found[5]}
end

local function is_for(lease, name)
  return string.find(lease.queues, '\n' .. name .. '\n', 1, true) ~= nil
end

-- Sleepers: tokens left by claims that found nothing. A token may wait at several sets; it is taken
-- from all of them when it is woken.

local function leave_token(token, sets)
  local seq = redis.call('INCR', root .. ':seq')
  for _, wait in ipairs(sets) do
    redis.call('ZADD', wait, 'NX', seq, token)
    redis.call('SADD', root .. ':token:' .. token, wait)
  end
end

local function take_token(token)
  local waits = redis.call('SMEMBERS', root .. ':token:' .. token)
  for _, wait in ipairs(waits) do
    redis.call('ZREM', wait, token)
  end
  if #waits > 0 then
    redis.call('DEL', root .. ':token:' .. token)
  end
end

-- Whether somebody heard it.
local function wake(token)
  return redis.call('PUBLISH', root .. ':wake:' .. token, '') > 0
end

-- Wake as many sleepers of a ready set as `jobs` can feed, longest waiting first; a dead one feeds
-- nobody, and the next one is woken in its place.
local function feed(queue, need, jobs)
  local wait = queue.wait .. need
  while jobs > 0 do
    local token = redis.call('ZRANGE', wait, 0, 0)[1]
    if not token then
      return
    end
    if redis.call('HGET', queue.count, 'paused') then -- Guard: paused queue
      return
    end
    take_token(token)
    if wake(token) then
      jobs = jobs - 1
    end
  end
end

-- Write the counters and wake sleepers: the end of every script that moves jobs.
local function flush()
  for _, queue in pairs(queues) do
    for state, jobs in pairs(queue.delta or {}) do
      if jobs ~= 0 then
        redis.call('HINCRBY', queue.count, state, jobs)
      end
    end
    for need, jobs in pairs(queue.fresh) do
      feed(queue, need, jobs)
    end
  end
end
