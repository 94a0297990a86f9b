-- prune: forget final jobs past their retention, results past their ttl, spent keys and leases.
--
-- transitions:
--     completed --prune--> (none)
--     dead --prune--> (none)
--     cancelled --prune--> (none)
--     expired --prune--> (none)
--     blocked --unblock--> queued
--     blocked --unblock--> scheduled
--
-- ARGV: limit, rules (how many, then state, age, count of each), names. Answer: how many.
-- cost: one look-up per queue and rule; per job dropped some ten commands.

local now, limit = wall_ms(), number()
local dropped = 0

-- How many jobs have ended so.
local function ended(queue, state)
  local function count(other)
    return tonumber(redis.call('HGET', queue.count, other) or 0) + (queue.delta[other] or 0)
  end
  if state ~= 'completed' then
    return count(state)
  end
  return redis.call('HLEN', queue.done) - count('dead') - count('cancelled') - count('expired')
end

local function prune_jobs(queue, rule)
  local spare = ended(queue, rule.state) - rule.count
  local old = {}
  for _, entry in ipairs(first_entries(key_of(queue, 'final', rule.state), limit - dropped)) do
    local too_old = now - number_at(entry, 1) >= rule.age -- Guard: age
    local too_many = #old < spare -- Guard: count
    if not (too_old or too_many) then
      break
    end
    old[#old + 1] = full_id(queue, string.sub(entry, 7))
  end
  for _, id in ipairs(old) do
    forget(load(id), now)
  end
  dropped = dropped + #old
end

local function drop_result(queue, short)
  local done = redis.call('HGET', queue.done, short)
  local head, blob = string.match(done, '^([^\n]*\n)()')
  redis.call('HSET', queue.done, short, head .. without_result(string.sub(done, blob)))
  redis.call('ZREM', queue.result, short)
end

local function prune_results(queue)
  local shorts = redis.call('ZRANGEBYSCORE', queue.result, '-inf', int(now), 'LIMIT', 0, limit - dropped) -- Guard: result ttl
  for _, short in ipairs(shorts) do
    drop_result(queue, short)
  end
  dropped = dropped + #shorts
end

local function prune_keys()
  local spent = redis.call('ZRANGEBYSCORE', root .. ':keys_until', '-inf', int(now), 'LIMIT', 0, limit) -- Guard: key window
  for _, key in ipairs(spent) do
    redis.call('HDEL', root .. ':keys', key)
    redis.call('ZREM', root .. ':keys_until', key)
  end
end

local function prune_leases()
  local left = limit
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':leases')) do
    local key = lease_key(id)
    local found = redis.call('HMGET', key, 'closed', 'running')
    if left > 0
      and found[1] ~= '0' -- Guard: only closed leases
      and tonumber(found[2] or 0) <= 0 -- Guard: nothing runs under it
    then
      redis.call('DEL', key, key .. ':cancels')
      redis.call('SREM', root .. ':leases', id)
      left = left - 1
    end
  end
end

local rules = {}
for place = 1, number() do
  rules[place] = {state = arg(), age = number(), count = number()}
end

-- Forget marks that nothing stands for any more.
local function prune_marks(queue)
  local facts = facts_of(queue)
  if facts.has_deadlines and redis.call('EXISTS', queue.deadline) == 0 then
    redis.call('HDEL', queue.count, 'has_deadlines')
    facts.has_deadlines = false
  end
  if facts.has_more and redis.call('EXISTS', queue.more) == 0 then
    redis.call('HDEL', queue.count, 'has_more')
    facts.has_more = false
  end
  if facts.has_kids and redis.call('EXISTS', queue.has_kids) == 0 then
    redis.call('HDEL', queue.count, 'has_kids')
    facts.has_kids = false
  end
end

while at < #ARGV do
  local queue = queue_named(arg())
  for _, rule in ipairs(rules) do
    if dropped < limit then
      prune_jobs(queue, rule)
    end
  end
  if dropped < limit then
    prune_results(queue)
  end
  prune_marks(queue)
end
prune_keys()
prune_leases()
flush()
return dropped
