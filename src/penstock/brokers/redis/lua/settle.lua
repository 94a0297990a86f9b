-- settle: apply what workers decided about running jobs.
--
-- transitions:
--     running --complete--> completed
--     running --retry--> retrying
--     running --bury--> dead
--     running --snooze--> scheduled
--     running --release--> queued
--     running --cancel--> cancelled
--     blocked --unblock--> queued
--     blocked --unblock--> scheduled
--     blocked --parent_failed--> cancelled
--
-- ARGV: completions in groups, one for each queue: how many, then of each: tag, how many, then of each
-- job, by rising ids: id without its tag and fence as one word; '1' or '0' for a result, then what is
-- kept. Then all others: how many, and of each: kind, id, fence, and what the kind needs. Answer: of
-- each group one text, a letter for each job: a (applied), d (applied, result dropped), s (stale);
-- then one word for each other.
-- cost: completions of one queue are a dozen commands whatever their number; others some each.

-- Bytes of a result that is kept even while memory is full: settling must go on, and small results
-- are what little jobs have.
local RESULT_KEPT_BYTES = 16384

-- Whether the server's memory is at its limit. An unknown answer counts as room.
local function is_full()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then
    return false
  end
  local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)'))
  return limit and limit > 0 and tonumber(string.match(info, '\nused_memory:(%d+)')) >= limit
end

local IS_FULL

-- What is kept of a completion, and its letter: a large result is dropped where there is no room.
local function kept(body)
  if #body > RESULT_KEPT_BYTES and string.byte(body) == 49 then
    if IS_FULL == nil then
      IS_FULL = is_full()
    end
    if IS_FULL then
      return '0' .. without_result(string.sub(body, 2)), 'd'
    end
  end
  return body, 'a'
end

-- Cancels that were requested and came too late.
local function forget_cancels(queue, key, shorts)
  local ids = {}
  for place, short in ipairs(shorts) do
    ids[place] = full_id(queue, short)
    local more = more_of(queue, short)
    if more.cancel then
      more.cancel = nil
      keep_more(queue, short, more)
    end
  end
  redis.call('HDEL', key .. ':cancels', unpack(ids))
end

-- What follows from completions beside the jobs themselves: leases, cancels, children.
local function after_completions(queue, gone, leases, now)
  if redis.call('EXISTS', queue.deadline) == 1 then
    redis.call('ZREM', queue.deadline, unpack(gone))
  end
  for lease, shorts in pairs(leases) do
    local key = lease_key(lease)
    redis.call('HINCRBY', key, 'running', -#shorts)
    if redis.call('EXISTS', key .. ':cancels') == 1 then
      forget_cancels(queue, key, shorts)
    end
  end
  moved(queue, 'running', 'completed', #gone)
  if redis.call('EXISTS', queue.has_kids) == 1 then
    for _, short in ipairs(gone) do
      tell_kids(queue, short, 'completed', now)
    end
  end
end

-- Completions of one queue, all at once. `holds` are ids with their fences, `bodies` what is kept.
local function complete(queue, holds, bodies, now)
  local shorts, letters = {}, {}
  for place, hold in ipairs(holds) do
    shorts[place] = string.sub(hold, 1, 14)
  end
  local runs = redis.call('HMGET', queue.run, unpack(shorts))
  local start, instant = 'c' .. int(now) .. ';;', bytes_of(now)
  local done, final, gone, drops, leases = {}, {}, {}, {}, {}
  for place, hold in ipairs(holds) do
    local held = runs[place]
    letters[place] = 's'
    if held and fence_of(held) == string.sub(hold, 15) then -- Guard: fence of a completion
      local short, body = shorts[place]
      body, letters[place] = kept(bodies[place])
      local count = #gone + 1
      gone[count] = short
      done[2 * count - 1] = short
      done[2 * count] = start .. string.sub(held, 40) .. '\n' .. string.sub(body, 2)
      final[count] = instant .. short
      local lease = lease_of(held)
      leases[lease] = leases[lease] or {}
      leases[lease][#leases[lease] + 1] = short
      local ttl = string.match(held, '^%d+;(%d+);', 40)
      if ttl and string.byte(body) == 49 then
        drops[#drops + 1] = now + tonumber(ttl)
        drops[#drops + 1] = short
      end
    end
  end
  if #gone > 0 then
    redis.call('HSET', queue.done, unpack(done))
    redis.call('HDEL', queue.run, unpack(gone))
    put(key_of(queue, 'final', 'completed'), final)
    if #drops > 0 then
      redis.call('ZADD', queue.result, unpack(drops))
    end
    after_completions(queue, gone, leases, now)
  end
  return table.concat(letters)
end

local function keep_attempt(job, attempt, now, item)
  local key = key_of(job.queue, 'attempts', job.short)
  redis.call('RPUSH', key, cmsgpack.pack({
    attempt.n, attempt.worker, item.pid ~= '' and tonumber(item.pid) or attempt.pid,
    attempt.claimed, now, item.outcome, item.message,
  }))
  redis.call('LTRIM', key, -25, -1)
end

local WAITS_AS = {retry = 'retrying', snooze = 'scheduled', release = 'queued'}

-- Put a job back among those that wait.
local function go_on(job, item, now)
  local attempt = attempt_of(job.run)
  keep_attempt(job, attempt, now, item)
  leave(job)
  local more = job.more
  more.n = attempt.n
  more.charges = item.charges ~= '' and item.charges or nil
  more.need = item.need ~= '' and item.need or nil
  more.arrival = attempt.arrival
  if item.kind ~= 'release' then
    more.due = now + item.delay
  end
  enter(job, WAITS_AS[item.kind])
end

local function settle_one(item, now)
  local job = load(item.id)
  if not job or not job.run then
    return 'stale'
  end
  if fence_of(job.run) ~= item.fence then -- Guard: fence
    return 'stale'
  end
  local blob = blob_of(item.pid, item.outcome, item.message, '0', '')
  job.more.charges = item.charges ~= '' and item.charges or nil
  if job.more.cancel and WAITS_AS[item.kind] then -- Guard: a requested cancel wins
    finish(job, 'cancelled', 'by_operator', now, blob)
    return 'cancelled'
  end
  if WAITS_AS[item.kind] then
    go_on(job, item, now)
  else
    finish(job, item.kind == 'bury' and 'dead' or 'cancelled', item.reason, now, blob)
  end
  return 'applied'
end

local function read_completions()
  local tag, holds, bodies = arg(), {}, {}
  for place = 1, number() do
    holds[place], bodies[place] = arg(), arg()
  end
  return tag, holds, bodies
end

local function settle()
  local now = wall_ms()
  local answers, groups = {}, {}
  for place = 1, number() do
    groups[place] = {read_completions()}
  end
  local others = number()
  for place = 1, others do
    local item = {
      kind = arg(), id = arg(), fence = arg(), pid = arg(), outcome = arg(), message = arg(),
      reason = arg(), delay = number(), charges = arg(), need = arg(),
    }
    answers[#groups + place] = settle_one(item, now)
  end
  for place, group in ipairs(groups) do
    local queue = queue_tagged(group[1])
    answers[place] = queue and complete(queue, group[2], group[3], now)
      or string.rep('s', #group[2])
  end
  return answers
end
