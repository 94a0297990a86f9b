-- reclaim: take over running jobs whose lease is closed or has run out.
--
-- transitions:
--     running --reclaim--> running
--
-- ARGV: lease, fence, limit, ttl, names. Answer: for how long the reaper holds, closed leases, jobs.
-- cost: one look-up per lease; where one is closed with jobs under it, one read of all running jobs
-- of these queues.

local taker_id, fence, limit, ttl = arg(), arg(), number(), number()
local now = lease_ms()
local taker = good_lease(taker_id)
if not taker then
  return {0, {}, NOTHING, {}}
end
local from = {}
while at < #ARGV do
  local name = arg()
  if is_for(taker, name) then
    from[#from + 1] = queue_named(name)
  end
end

-- Note that a reaper is at work; return for how long it holds after a gap.
local function tick()
  local last = redis.call('HMGET', root .. ':reaper', 'tick', 'hold_until')
  local hold_until = tonumber(last[2] or 0)
  if not last[1] or now - tonumber(last[1]) > math.floor(ttl / 2) then -- Guard: gap
    hold_until = now + ttl
  end
  redis.call('HSET', root .. ':reaper', 'tick', int(now), 'hold_until', int(hold_until))
  return math.max(0, hold_until - now)
end

local function is_for_any(lease)
  for _, queue in ipairs(from) do
    if is_for(lease, queue.name) then
      return true
    end
  end
  return false
end

local hold = tick()
local closed, orphaned, has_orphans = {}, {}, false
for _, id in ipairs(redis.call('SMEMBERS', root .. ':leases')) do
  local key = lease_key(id)
  local found = redis.call('HMGET', key, 'closed', 'expires', 'queues', 'running')
  local is_closed = found[1] == '1'
  if found[1] == '0'
    and hold == 0 -- Guard: hold
    and tonumber(found[2]) <= now -- Guard: ran out
    and is_for_any({queues = found[3]}) -- Guard: these queues only
  then
    redis.call('HSET', key, 'closed', '1')
    closed[#closed + 1] = id
    is_closed = true
  end
  if is_closed then -- Guard: only closed leases
    orphaned[id] = true
    has_orphans = has_orphans or tonumber(found[4] or 0) > 0
  end
end

local taken, orphans = {}, {}
if has_orphans or tonumber(redis.call('HGET', lease_key(taker_id), 'running')) > 0 then
  for _, queue in ipairs(from) do
    local runs = redis.call('HGETALL', queue.run)
    for place = 1, #runs, 2 do
      local job = {queue = queue, short = runs[place], run = runs[place + 1]}
      if lease_of(job.run) == taker_id and fence_of(job.run) == fence then
        -- A repeat gives the jobs that the first call took, and counts them towards the limit.
        taken[#taken + 1] = job
      elseif orphaned[lease_of(job.run)] then
        orphans[#orphans + 1] = job
      end
    end
  end
end

local function by_id(a, b)
  return is_before(a.id, b.id)
end

for _, jobs in ipairs({taken, orphans}) do
  for _, job in ipairs(jobs) do
    job.id = full_id(job.queue, job.short)
  end
end

table.sort(orphans, by_id)
for place = 1, math.min(#orphans, math.max(0, limit - #taken)) do
  local job = orphans[place]
  local before = lease_key(lease_of(job.run))
  -- Fence: raised in the same step, so that what the former owner still sends is stale.
  job.run = fence .. taker_id .. string.sub(job.run, 33)
  redis.call('HSET', job.queue.run, job.short, job.run)
  redis.call('HINCRBY', before, 'running', -1)
  redis.call('HINCRBY', lease_key(taker_id), 'running', 1)
  if redis.call('HDEL', before .. ':cancels', job.id) == 1 then
    redis.call('HSET', lease_key(taker_id) .. ':cancels', job.id, fence)
  end
  taken[#taken + 1] = job
end
table.sort(taken, by_id)

local out, before = new_handout(now), {}
for place, job in ipairs(taken) do
  local attempt = attempt_of(job.run)
  job.stored = redis.call('HGET', job.queue.spec, job.short)
  job.more = more_of(job.queue, job.short)
  hand_taken(out, job)
  before[2 * place - 1] = attempt.worker
  before[2 * place] = attempt.pid
end
return {hold, closed, handed_out(out), before}
