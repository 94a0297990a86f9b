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
-- ARGV: usages: how many, then of each: id, JSON. Then completions in groups, one for each queue and
-- fence: how many, then of each: tag, fence, how many, then of each job, by rising ids: id without its
-- tag, what is kept. Then all others: how many,
-- and of each: kind, id, fence, and what the kind needs. Answer: of each group '' where all are applied,
-- else a letter for each job: a (applied), d (applied, result dropped), s (stale); then one word for
-- each other.
-- cost: completions of one queue are a dozen commands whatever their number; others some each.

-- Bytes of a result that is kept even while memory is full: settling must go on, and small results
-- are what little jobs have.
local RESULT_KEPT_BYTES = 16384

-- What attempts were measured to take, by the whole ids of their jobs.
local usages = {}

-- Keep the usage of an attempt that is settled, and forget those of attempts that are kept no more. It
-- stands beside progress and checkpoint, where a release that does not know it leaves it alone, and
-- forgets it with the job.
local function keep_usage(queue, short, number, usage)
  local note = key_of(queue, 'note', short)
  redis.call('HSET', note, 'usage:' .. int(number), usage)
  if number <= 25 then
    return
  end
  for _, field in ipairs(redis.call('HKEYS', note)) do
    local earlier = tonumber(string.match(field, '^usage:(%d+)$'))
    if earlier
      and earlier <= number - 25 -- Guard: usages kept
    then
      redis.call('HDEL', note, field)
    end
  end
end

-- The same for the completions of a group that were applied, with what each had in `run`.
local function keep_usages(group, runs, applied)
  for place, short in ipairs(group.shorts) do
    local usage = applied[place] and usages[full_id(group.queue, short)]
    if usage then
      keep_usage(group.queue, short, tonumber(string.match(runs[place], '^.(%d+);', 40)), usage)
    end
  end
end

-- Whether the server's memory is at its limit. An unknown answer counts as room.
local function is_full()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then
    return false
  end
  local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)'))
  return limit and limit > 0 and tonumber(string.match(info, '\nused_memory:(%d+)')) >= limit
end

-- Whether what is kept of a completion holds a result.
local function has_result(body)
  local size, text = string.match(body, '^%d*;[^;]*;[01];(%d+);()')
  return #body - text + 1 > tonumber(size)
end

-- Cancels that were requested and came too late.
local function forget_cancels(key, group)
  local ids = {}
  for place, short in ipairs(group.gone) do
    ids[place] = full_id(group.queue, short)
    local more = more_of(group.queue, short)
    if more.cancel then
      more.cancel = nil
      keep_more(group.queue, short, more)
    end
  end
  redis.call('HDEL', key .. ':cancels', unpack(ids))
end

-- What follows for the leases from all completions under them.
local function tell_leases(groups)
  local by_lease = {}
  for _, group in ipairs(groups) do
    if group.lease then
      by_lease[group.lease] = by_lease[group.lease] or {}
      table.insert(by_lease[group.lease], group)
    end
  end
  for lease, under in pairs(by_lease) do
    local key, jobs = lease_key(lease), 0
    local has_cancels = redis.call('EXISTS', key .. ':cancels') == 1
    for _, group in ipairs(under) do
      jobs = jobs + #group.gone
      if has_cancels then
        forget_cancels(key, group)
      end
    end
    redis.call('HINCRBY', key, 'running', -jobs)
  end
end

-- What is kept of a group, large results dropped where there is no room; the places of those.
local function kept_bodies(bodies)
  local dropped = {}
  local full
  for place, body in ipairs(bodies) do
    if #body > RESULT_KEPT_BYTES and has_result(body) then
      if full == nil then
        full = is_full()
      end
      if full then
        bodies[place], dropped[place] = without_result(body), true
      end
    end
  end
  return dropped
end

local function letters_of(shorts, applied, dropped)
  local letters = {}
  for place = 1, #shorts do
    letters[place] = not applied[place] and 's' or dropped[place] and 'd' or 'a'
  end
  return table.concat(letters)
end

-- Completions of one queue and one fence, which one claim gave under one lease: all at once.
local function complete(group, now)
  local queue, fence, shorts, bodies = group.queue, group.fence, group.shorts, group.bodies
  local dropped = kept_bodies(bodies)
  local runs = redis.call('HMGET', queue.run, unpack(shorts))
  local start, instant = 'c' .. int(now) .. ';;', bytes_of(now)
  local done, final, gone, drops, applied, count = {}, {}, {}, {}, {}, 0
  for place = 1, #shorts do
    local short, held = shorts[place], runs[place]
    if held and fence_of(held) == fence then -- Guard: fence of a completion
      count = count + 1
      applied[place] = true
      group.lease = group.lease or lease_of(held)
      gone[count] = short
      final[count] = instant .. short
      done[2 * count - 1] = short
      done[2 * count] = start .. string.sub(held, 40) .. '\n' .. bodies[place]
      if string.byte(held, 40) == 33 and has_result(bodies[place]) then
        drops[#drops + 1] = now + tonumber(string.match(held, '^.%d+;(%d+);', 40))
        drops[#drops + 1] = short
      end
    end
  end
  group.gone = gone
  if count > 0 then
    redis.call('HSET', queue.done, unpack(done))
    redis.call('HDEL', queue.run, unpack(gone))
    if next(usages) then
      keep_usages(group, runs, applied)
    end
    put(key_of(queue, 'final', 'completed'), final)
    if #drops > 0 then
      redis.call('ZADD', queue.result, unpack(drops))
    end
    if facts_of(queue).has_deadlines then
      redis.call('ZREM', queue.deadline, unpack(gone))
    end
    if facts_of(queue).has_kids then
      for _, short in ipairs(gone) do
        tell_kids(queue, short, 'completed', now)
      end
    end
  end
  return count == #shorts and not next(dropped) and '' or letters_of(shorts, applied, dropped)
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
  if usages[item.id] then
    keep_usage(job.queue, job.short, attempt_of(job.run).n, usages[item.id])
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
  local group = {tag = arg(), fence = arg(), shorts = {}, bodies = {}}
  for place = 1, number() do
    group.shorts[place], group.bodies[place] = ARGV[at + 1], ARGV[at + 2]
    at = at + 2
  end
  return group
end

local function settle()
  local now = wall_ms()
  local answers, groups = {}, {}
  local tags = {}
  for _ = 1, number() do
    local id = arg()
    usages[id] = arg()
  end
  for place = 1, number() do
    groups[place] = read_completions()
    tags[place] = groups[place].tag
  end
  learn_tags(tags)
  for place = 1, number() do
    local item = {
      kind = arg(), id = arg(), fence = arg(), pid = arg(), outcome = arg(), message = arg(),
      reason = arg(), delay = number(), charges = arg(), need = arg(),
    }
    answers[#groups + place] = settle_one(item, now)
  end
  for place, group in ipairs(groups) do
    group.queue = queue_tagged(group.tag)
    answers[place] = group.queue and complete(group, now) or string.rep('s', #group.shorts)
  end
  tell_leases(groups)
  return answers
end
