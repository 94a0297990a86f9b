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
-- ARGV: how many, then of each: kind, id, fence, and what the kind needs. Answer: one word each.
-- cost: completions of one queue are eight commands whatever their number; others some each.

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

-- Drop large results where there is no room for them.
local function drop_large(items)
  local full
  for _, item in ipairs(items) do
    if item.has_result == '1' and #item.blob > RESULT_KEPT_BYTES then
      if full == nil then
        full = is_full()
      end
      if full then
        item.blob, item.has_result, item.is_dropped = without_result(item.blob), '0', true
      end
    end
  end
end

-- Completions of one queue whose fence still holds, all at once.
local function complete(queue, items, answers, now)
  local ids = {}
  for place, item in ipairs(items) do
    ids[place] = item.id
  end
  local runs = redis.call('HMGET', queue.run, unpack(ids))
  local instant = int(now)
  local done, final, gone, drops, leases = {}, {}, {}, {}, {}
  for place, item in ipairs(items) do
    local held = runs[place]
    if held and fence_of(held) == item.fence then -- Guard: fence of a completion
      gone[#gone + 1] = item.id
      done[2 * #gone - 1] = item.id
      done[2 * #gone] = 'c' .. instant .. ';;' .. string.sub(held, 33) .. '\n' .. item.blob
      final[2 * #gone - 1] = instant
      final[2 * #gone] = item.id
      local lease = lease_of(held)
      leases[lease] = leases[lease] or {}
      table.insert(leases[lease], item.id)
      if item.has_result == '1' then
        local ttl = string.match(held, '^%d+', 33)
        if ttl then
          drops[#drops + 1] = now + tonumber(ttl)
          drops[#drops + 1] = item.id
        end
      end
      answers[item.place] = item.is_dropped and 'result_dropped' or 'applied'
    end
  end
  if #gone == 0 then
    return
  end
  redis.call('HSET', queue.done, unpack(done))
  redis.call('HDEL', queue.run, unpack(gone))
  redis.call('ZADD', queue.final .. 'completed', unpack(final))
  if #drops > 0 then
    redis.call('ZADD', queue.result, unpack(drops))
  end
  if redis.call('EXISTS', queue.deadline) == 1 then
    redis.call('ZREM', queue.deadline, unpack(gone))
  end
  for lease, jobs in pairs(leases) do
    local key = lease_key(lease)
    redis.call('HINCRBY', key, 'running', -#jobs)
    if redis.call('EXISTS', key .. ':cancels') == 1 then
      redis.call('HDEL', key .. ':cancels', unpack(jobs))
      for _, id in ipairs(jobs) do
        local more = more_of(queue, id)
        if more.cancel then
          more.cancel = nil
          keep_more(queue, id, more)
        end
      end
    end
  end
  moved(queue, 'running', 'completed', #gone)
  if redis.call('EXISTS', queue.has_kids) == 1 then
    for _, id in ipairs(gone) do
      tell_kids(queue, id, 'completed', now)
    end
  end
end

local function keep_attempt(job, attempt, now, item)
  local key = job.queue.attempts .. job.id
  redis.call('RPUSH', key, cmsgpack.pack({
    attempt.n, attempt.worker, item.pid ~= '' and tonumber(item.pid) or attempt.pid,
    attempt.claimed, now, item.outcome, item.message,
  }))
  redis.call('LTRIM', key, -25, -1)
end

local WAITS_AS = {retry = 'retrying', snooze = 'scheduled', release = 'queued'}

-- Put a job back among those that wait.
local function go_on(job, item, now)
  local attempt = attempt_of(string.sub(job.run, 33))
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

local function read_settlements()
  local items = {}
  for place = 1, number() do
    local item = {place = place, kind = arg(), id = arg(), fence = arg()}
    if item.kind == 'complete' then
      item.blob, item.has_result = arg(), arg()
    else
      item.pid, item.outcome, item.message = arg(), arg(), arg()
      item.reason, item.delay, item.charges, item.need = arg(), number(), arg(), arg()
    end
    items[place] = item
  end
  return items
end

local function settle(items)
  local now = wall_ms()
  local answers, by_queue = {}, {}
  drop_large(items)
  for place, item in ipairs(items) do
    answers[place] = 'stale'
    local queue = queue_of(item.id)
    if queue and item.kind == 'complete' then
      by_queue[queue] = by_queue[queue] or {}
      table.insert(by_queue[queue], item)
    elseif queue then
      answers[place] = settle_one(item, now)
    end
  end
  for queue, completions in pairs(by_queue) do
    complete(queue, completions, answers, now)
  end
  return answers
end
