-- claim: take the best jobs of the offered ready sets.
--
-- transitions:
--     queued --claim--> running
--     scheduled --due--> queued
--     retrying --due--> queued
--
-- cost: some twenty commands, whatever the backlog and the batch, and one more for each offered set;
-- jobs past their deadline that stand before the last one taken cost one each.

-- Milliseconds for which a repeat of a claim is known after its lease could have run out. A runner tries
-- again every few seconds; whoever is away for longer than the lease claims under another one.
local REPEAT_MS = 60000

-- Note what a claim took: of each queue its tag, how many in two bytes, ids without tags.
local function remember(batches, lease, fence)
  local parts = {}
  for place, batch in ipairs(batches) do
    local jobs = #batch.shorts
    parts[place] = tag_of(batch.queue) .. string.char(math.floor(jobs / 256), jobs % 256)
      .. table.concat(batch.shorts)
  end
  redis.call('SET', root .. ':claim:' .. fence, table.concat(parts), 'PX',
    int(lease.left_ms + REPEAT_MS))
end

-- What an earlier call with this lease and fence took and still runs; nil where there is nothing.
local function taken_before(lease, fence)
  local text = redis.call('GET', root .. ':claim:' .. fence) or ''
  local out
  local from = 1
  while from <= #text do
    local tag, high, low = string.sub(text, from, from + 1), string.byte(text, from + 2, from + 3)
    from = from + 4
    for _ = 1, high * 256 + low do
      local short = string.sub(text, from, from + 13)
      local job = load(string.sub(short, 1, 8) .. tag .. string.sub(short, 9))
      if job and job.run and fence_of(job.run) == fence and lease_of(job.run) == lease.id then
        out = out or new_handout(0)
        hand_taken(out, job)
      end
      from = from + 14
    end
  end
  return out
end

-- Run the chosen jobs of one queue, and hand them out.
local function run(batch, lease, fence, now, out)
  local queue, shorts, ranks, places = batch.queue, batch.shorts, batch.ranks, batch.places
  local specs = redis.call('HMGET', queue.spec, unpack(shorts))
  local mores = facts_of(queue).has_more and redis.call('HMGET', queue.more, unpack(shorts))
  local of, at_queue, jobs = out.of, hand_queue(out, queue), out.jobs
  local start = fence .. lease.id
  local rest = ';' .. int(now) .. ';' .. lease.pid .. ';' .. lease.worker
  local usual = '.1;' .. rest
  local runs = {}
  for place = 1, #shorts do
    local short, stored, tail, at_job = shorts[place], specs[place] or '', usual, places[place]
    local changed = mores and mores[place]
    if changed or string.byte(stored) ~= 46 then
      local more = changed and cjson.decode(changed) or {}
      local n, ttl = (more.n or 0) + 1, string.match(stored, '^%d+') or ''
      tail = (ttl == '' and '.' or '!') .. n .. ';' .. ttl .. rest
      if n > 1 then
        more.n = n
        keep_more(queue, short, more)
      end
      if changed then
        hand_unusual(out, queue, short, at_job - 1, {n = n, claimed = now}, more)
      end
    end
    runs[2 * place - 1] = short
    runs[2 * place] = start .. ranks[place] .. tail
    of[at_job] = at_queue
    jobs[2 * at_job - 1] = short
    jobs[2 * at_job] = stored
  end
  redis.call('HSET', queue.run, unpack(runs))
end

local function next_due_in(timed, now)
  local soonest
  for _, queue in ipairs(timed) do
    local head = redis.call('ZRANGE', queue.due, 0, 0, 'WITHSCORES')
    if head[2] and (not soonest or tonumber(head[2]) < soonest) then
      soonest = tonumber(head[2])
    end
  end
  return soonest and int(math.max(0, soonest - now)) or ''
end

local function sleep(request)
  local sets = {}
  for _, offer in ipairs(request.offers) do
    for _, need in ipairs(offer.needs) do
      sets[#sets + 1] = key_of(offer.queue, 'wait', wait_set(need))
    end
  end
  leave_token(request.token, sets)
end

local function read_claim()
  local request = {lease = arg(), fence = arg(), limit = number(), token = arg(), offers = {}}
  for place = 1, number() do
    local offer = {queue = queue_named(arg()), left = number(), needs = {}}
    for need = 1, number() do
      offer.needs[need] = arg()
    end
    request.offers[place] = offer
  end
  return request
end

-- Answer: whether the lease is open, milliseconds until the next job is due or '', and the handout.
local function claim(request)
  local lease = good_lease(request.lease)
  if not lease then
    return {0, '', NOTHING}
  end
  local again = taken_before(lease, request.fence)
  if again then -- Guard: a repeat takes nothing more
    return {1, '', handed_out(again)}
  end
  local now = wall_ms()
  local timed, giving = {}, {}
  for _, offer in ipairs(request.offers) do
    local queue = offer.queue
    local facts, delta = facts_of(queue), queue.delta
    if facts.timed + (delta.scheduled or 0) + (delta.retrying or 0) > 0 then
      timed[#timed + 1] = queue
    end
    local gives = not facts.is_paused -- Guard: paused queues give nothing
    local is_leased = is_for(lease, queue.name) -- Guard: the lease is for this queue
    if gives and is_leased then
      giving[#giving + 1] = offer
    end
  end
  promote(timed, 500, now)
  local count, batches, is_cut = choose(giving, request.limit, now)
  if count == 0 and is_cut then
    -- There may be more behind what is late: `expire` is at work, and the next claim sees less of it.
    return {1, '0', NOTHING}
  end
  if count == 0 then
    if request.token ~= '' then
      sleep(request)
    end
    return {1, next_due_in(timed, now), NOTHING}
  end
  if request.token ~= '' then
    take_token(request.token)
  end
  local several = {}
  for place, batch in ipairs(batches) do
    several[place] = batch.queue
  end
  learn_queues(several)
  local out = new_handout(now)
  for place = 1, 2 * count do
    out.jobs[place] = false -- in order from the start, or Lua would make a hash of it
  end
  for _, batch in ipairs(batches) do
    run(batch, lease, request.fence, now, out)
  end
  redis.call('HINCRBY', lease_key(lease.id), 'running', count)
  remember(batches, lease, request.fence)
  return {1, '', handed_out(out)}
end
