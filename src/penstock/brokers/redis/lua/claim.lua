-- claim: take the best jobs of the offered ready sets.
--
-- transitions:
--     queued --claim--> running
--     scheduled --due--> queued
--     retrying --due--> queued
--
-- cost: about a dozen commands, whatever the backlog and the batch; jobs past their deadline that
-- stand before the last one taken cost one entry each.

-- Seconds for which a repeat of a claim is known.
local REPEAT_S = 600

-- A walk along one ready set, a few entries ahead.
local function new_walk(queue, need, chunk, has_deadlines)
  local walk = {queue = queue, need = need, next = 0, chunk = chunk, place = 1, entries = {}}
  function walk.head(now)
    while true do
      if walk.place > #walk.entries then
        if walk.ended then
          return nil
        end
        walk.entries = redis.call('ZRANGE', queue.ready .. need, walk.next, walk.next + walk.chunk - 1, 'WITHSCORES')
        walk.next = walk.next + walk.chunk
        walk.place = 1
        walk.ended = #walk.entries < 2 * walk.chunk
        if #walk.entries == 0 then
          return nil
        end
      end
      local id, rank = walk.entries[walk.place], tonumber(walk.entries[walk.place + 1])
      local late = has_deadlines and redis.call('ZSCORE', queue.deadline, id)
      if not late or tonumber(late) > now then -- Guard: deadline
        return id, rank
      end
      walk.place = walk.place + 2
    end
  end
  return walk
end

-- The best jobs of the offers, in order: (walk, id, rank) each.
local function choose(offers, limit, now)
  local walks, sets = {}, 0
  for _, offer in ipairs(offers) do
    sets = sets + #offer.needs
  end
  local chunk = math.max(math.ceil(limit / math.max(sets, 1)), 4)
  for _, offer in ipairs(offers) do
    local has_deadlines = redis.call('EXISTS', offer.queue.deadline) == 1
    for _, need in ipairs(offer.needs) do
      local walk = new_walk(offer.queue, need, chunk, has_deadlines)
      walk.offer = offer
      walk.id, walk.rank = walk.head(now)
      if walk.id then
        walks[#walks + 1] = walk
      elseif not has_deadlines then
        redis.call('SREM', offer.queue.needs, need)
      end
    end
  end
  local chosen = {}
  while #chosen < limit do
    local best
    for _, walk in ipairs(walks) do
      if walk.id and walk.offer.left > 0 then -- Guard: the offer's own limit
        if not best or walk.rank < best.rank or (walk.rank == best.rank and walk.id < best.id) then
          best = walk
        end
      end
    end
    if not best then
      break
    end
    chosen[#chosen + 1] = {walk = best, id = best.id, rank = best.rank}
    best.offer.left = best.offer.left - 1
    best.place = best.place + 2
    best.id, best.rank = best.head(now)
  end
  return chosen
end

local function checkpoint_of(queue, id, more)
  return more.note and redis.call('HGET', queue.note .. id, 'checkpoint') or ''
end

-- One job as its worker gets it: id, spec, claim number, instant of the claim, charges, checkpoint.
local function hand_out(out, queue, id, stored, attempt, more)
  out[#out + 1] = queue.name
  out[#out + 1] = id
  out[#out + 1] = stored or ''
  out[#out + 1] = attempt.n
  out[#out + 1] = attempt.claimed
  out[#out + 1] = more and more.charges or ''
  out[#out + 1] = more and checkpoint_of(queue, id, more) or ''
end

-- What an earlier call with this lease and fence took and still runs.
local function taken_before(lease, fence)
  local out = {}
  local ids = redis.call('GET', root .. ':claim:' .. fence)
  for place = 1, ids and #ids or 0, 16 do
    local job = load(string.sub(ids, place, place + 15))
    if job and job.run and fence_of(job.run) == fence and lease_of(job.run) == lease.id then
      hand_out(out, job.queue, job.id, job.stored, attempt_of(string.sub(job.run, 33)), job.more)
    end
  end
  return out
end

-- Run the chosen jobs of one queue.
local function run(queue, jobs, lease, fence, now)
  local ids, by_need = {}, {}
  for place, job in ipairs(jobs) do
    ids[place] = job.id
    local need = job.walk.need
    by_need[need] = by_need[need] or {}
    table.insert(by_need[need], job.id)
  end
  local specs = redis.call('HMGET', queue.spec, unpack(ids))
  local mores = redis.call('EXISTS', queue.more) == 1 and redis.call('HMGET', queue.more, unpack(ids)) or {}
  local runs = {}
  local owner = ';' .. lease.pid .. ';' .. lease.worker
  local start = fence .. lease.id
  local instant = int(now)
  for place, job in ipairs(jobs) do
    job.stored = specs[place]
    local more = mores[place]
    job.more = more and cjson.decode(more) or nil
    job.n = (job.more and job.more.n or 0) + 1
    local ttl = job.stored and string.match(job.stored, '^(%d*);') or ''
    runs[2 * place - 1] = job.id
    runs[2 * place] = start .. ttl .. ';' .. int(job.rank % BAND) .. ';' .. instant .. ';' .. job.n .. owner
    if job.n > 1 then
      job.more.n = job.n
      keep_more(queue, job.id, job.more)
    end
  end
  redis.call('HSET', queue.run, unpack(runs))
  for need, taken in pairs(by_need) do
    redis.call('ZREM', queue.ready .. need, unpack(taken))
    made_claimable(queue, need, -#taken)
  end
  moved(queue, 'queued', 'running', #jobs)
end

local function next_due_in(offers, now)
  local soonest
  for _, offer in ipairs(offers) do
    local head = redis.call('ZRANGE', offer.queue.due, 0, 0, 'WITHSCORES')
    if head[2] and (not soonest or tonumber(head[2]) < soonest) then
      soonest = tonumber(head[2])
    end
  end
  return soonest and int(math.max(0, soonest - now)) or ''
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

-- Answer: whether the lease is open, milliseconds until the next job is due or '', and the jobs.
local function claim(request)
  local lease = good_lease(request.lease)
  if not lease then
    return {0, '', {}}
  end
  local again = taken_before(lease, request.fence)
  if #again > 0 then -- Guard: a repeat takes nothing more
    return {1, '', again}
  end
  local now = wall_ms()
  local from, giving = {}, {}
  for _, offer in ipairs(request.offers) do
    from[#from + 1] = offer.queue
    local gives = not redis.call('HGET', offer.queue.count, 'paused') -- Guard: paused queues give nothing
    local is_leased = is_for(lease, offer.queue.name) -- Guard: the lease is for this queue
    if gives and is_leased then
      giving[#giving + 1] = offer
    end
  end
  promote(from, 500, now)
  local chosen = choose(giving, request.limit, now)
  if #chosen == 0 then
    if request.token ~= '' then
      local sets = {}
      for _, offer in ipairs(request.offers) do
        for _, need in ipairs(offer.needs) do
          sets[#sets + 1] = offer.queue.wait .. need
        end
      end
      leave_token(request.token, sets)
    end
    return {1, next_due_in(request.offers, now), {}}
  end
  if request.token ~= '' then
    take_token(request.token)
  end
  local by_queue, ids, out = {}, {}, {}
  for place, job in ipairs(chosen) do
    local queue = job.walk.queue
    by_queue[queue] = by_queue[queue] or {}
    table.insert(by_queue[queue], job)
    ids[place] = job.id
  end
  for queue, jobs in pairs(by_queue) do
    run(queue, jobs, lease, request.fence, now)
  end
  redis.call('HINCRBY', lease_key(lease.id), 'running', #chosen)
  redis.call('SET', root .. ':claim:' .. request.fence, table.concat(ids), 'EX', REPEAT_S)
  for _, job in ipairs(chosen) do
    hand_out(out, job.walk.queue, job.id, job.stored, {n = job.n, claimed = int(now)}, job.more)
  end
  return {1, '', out}
end
