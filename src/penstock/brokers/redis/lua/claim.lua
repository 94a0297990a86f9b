-- claim: take the best jobs of the offered ready sets.
--
-- transitions:
--     queued --claim--> running
--     scheduled --due--> queued
--     retrying --due--> queued
--
-- cost: some twenty commands, whatever the backlog and the batch, and one more for each offered set;
-- jobs past their deadline that stand before the last one taken cost one each.

-- What a priority band spans in a rank (core/rank.py).
local BAND = 281474976710656
-- Seconds for which a repeat of a claim is known.
local REPEAT_S = 600

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

-- A walk along one ready set, page by page. `entry` is the best one that was not taken.

-- Read on: the rest of the page, or the next one.
local function read_on(walk)
  local page = walk.page
  if not page or page.is_read then
    local name = next_page(walk.index, page and page.name)
    if not name then
      walk.entries = nil
      return
    end
    page = {name = name, key = page_key(walk.index, name), taken = {}, count = 0}
    walk.page = page
    walk.pages[#walk.pages + 1] = page
  end
  -- One more than may be wanted tells whether there are more.
  walk.entries = redis.call('ZRANGE', page.key, page.count, page.count + walk.chunk)
  page.is_read = #walk.entries <= walk.chunk
  page.count = page.count + #walk.entries
  walk.place = 1
end

-- Go to the next entry whose job may start.
local function step(walk, now)
  walk.place = walk.place + 1
  while walk.entries do
    local entry = walk.entries[walk.place]
    if not entry then
      read_on(walk)
    else
      local late = walk.deadline and redis.call('ZSCORE', walk.deadline, string.sub(entry, 8))
      if not late or tonumber(late) > now then -- Guard: deadline
        walk.entry = entry
        return
      end
      walk.page.has_gap = true
      walk.place = walk.place + 1
    end
  end
  walk.entry = nil
end

local function new_walk(offer, need, chunk, now)
  local walk = {
    offer = offer, need = need, index = key_of(offer.queue, 'ready', need), chunk = chunk,
    deadline = facts_of(offer.queue).has_deadlines and offer.queue.deadline, pages = {}, place = 0, entries = {},
  }
  step(walk, now)
  return walk
end

-- Take what was chosen along a walk out of its ready set.
local function take_walked(walk)
  local taken, is_page_gone = 0, false
  for _, page in ipairs(walk.pages) do
    local count = #page.taken
    if count > 0 then
      taken = taken + count
      if page.has_gap then
        redis.call('ZREM', page.key, unpack(page.taken))
      else
        redis.call('ZREMRANGEBYRANK', page.key, 0, count - 1)
      end
      if page.is_read and count == page.count then
        redis.call('ZREM', walk.index, page.name)
        is_page_gone = true
      end
    end
  end
  if is_page_gone and redis.call('EXISTS', walk.index) == 0 then
    redis.call('SREM', walk.offer.queue.needs, walk.need)
  end
  made_claimable(walk.offer.queue, walk.need, -taken)
end

-- Walks are compared by two numbers: rank, then the part of the id that rises with time.
local function weigh(walk)
  local entry = walk.entry
  walk.rank = entry and string.byte(entry) * BAND + number_at(entry, 2)
  walk.tie = entry and number_at(entry, 8) % 68719476736 * 65536 + string.byte(entry, 14) * 256
    + string.byte(entry, 15)
end

-- The walks along the offered sets that have something to give.
local function walks_along(offers, limit, now)
  local walks, sets = {}, 0
  for _, offer in ipairs(offers) do
    sets = sets + #offer.needs
  end
  local chunk = math.max(math.ceil(limit / math.max(sets, 1)), 4)
  for _, offer in ipairs(offers) do
    for _, need in ipairs(offer.needs) do
      local walk = new_walk(offer, need, chunk, now)
      if walk.entry then
        walks[#walks + 1] = walk
      end
    end
  end
  return walks
end

-- The walk whose entry is best. Written out: it looks at every walk for every job.
local function best_of(walks)
  local best, best_rank, best_tie
  for place = 1, #walks do
    local walk = walks[place]
    local rank, tie = walk.rank, walk.tie
    if rank and walk.offer.left > 0 then -- Guard: the offer's own limit
      local is_better = not best or rank < best_rank
      if not is_better and rank == best_rank then
        is_better = tie < best_tie or (tie == best_tie and is_before(walk.entry, best.entry))
      end
      if is_better then
        best, best_rank, best_tie = walk, rank, tie
      end
    end
  end
  return best
end

-- Take the best jobs of the offers out of their sets. Return how many, and of each queue that gives
-- some: ids without tag, ranks, and places in the order of all.
local function choose(offers, limit, now)
  local walks = walks_along(offers, limit, now)
  local several = #walks > 1
  for _, walk in ipairs(several and walks or {}) do
    weigh(walk)
  end
  local batches, count = {}, 0
  while count < limit do
    local walk = several and best_of(walks) or walks[1]
    if not walk or not walk.entry or walk.offer.left <= 0 then -- Guard: the set's own limit
      break
    end
    local entry, offer, taken = walk.entry, walk.offer, walk.page.taken
    local batch = offer.batch
    if not batch then
      batch = {queue = offer.queue, shorts = {}, ranks = {}, places = {}}
      offer.batch = batch
      batches[#batches + 1] = batch
    end
    count = count + 1
    local place = #batch.shorts + 1
    batch.shorts[place] = string.sub(entry, 8)
    batch.ranks[place] = string.sub(entry, 1, 7)
    batch.places[place] = count
    taken[#taken + 1] = entry
    offer.left = offer.left - 1
    step(walk, now)
    if several then
      weigh(walk)
    end
  end
  for _, walk in ipairs(walks) do
    take_walked(walk)
  end
  return count, batches
end

-- What a claim or a reclaim hands out: queues (name and tag of each); the instant of the claim; jobs
-- (id without tag and spec of each); of each job the place of its queue, where there are several; of
-- jobs that are not as usual: place, claim number, instant, charges, checkpoint.
local function new_handout(now)
  return {queues = {}, count = 0, jobs = {}, of = {}, unusual = {}, claimed = now}
end

-- Name a queue; return its place.
local function hand_queue(out, queue)
  local queues = out.queues
  queues[#queues + 1] = queue.name
  queues[#queues + 1] = tag_of(queue)
  return #queues / 2 - 1
end

-- What is not usual of a job: it was claimed before, it was charged, it has a checkpoint.
local function hand_unusual(out, queue, short, place, attempt, more)
  local unusual, count = out.unusual, #out.unusual
  unusual[count + 1] = place
  unusual[count + 2] = attempt.n
  unusual[count + 3] = attempt.claimed
  unusual[count + 4] = more.charges or ''
  unusual[count + 5] = more.note and redis.call('HGET', key_of(queue, 'note', short), 'checkpoint') or ''
end

-- A job that was claimed by an earlier call.
local function hand_taken(out, job)
  local queue = job.queue
  local place = out[queue]
  if not place then
    place = hand_queue(out, queue)
    out[queue] = place
  end
  local at_job = out.count
  out.count = at_job + 1
  out.of[at_job + 1] = place
  out.jobs[2 * at_job + 1] = job.short
  out.jobs[2 * at_job + 2] = job.stored or ''
  hand_unusual(out, queue, job.short, at_job, attempt_of(job.run), job.more)
end

local function handed_out(out)
  return {out.queues, out.claimed, out.jobs, #out.queues > 2 and out.of or {}, out.unusual}
end

local NOTHING = {{}, 0, {}, {}, {}}

-- Note what a claim took: of each queue its tag, how many in two bytes, ids without tags.
local function remember(batches, fence)
  local parts = {}
  for place, batch in ipairs(batches) do
    local jobs = #batch.shorts
    parts[place] = tag_of(batch.queue) .. string.char(math.floor(jobs / 256), jobs % 256)
      .. table.concat(batch.shorts)
  end
  redis.call('SET', root .. ':claim:' .. fence, table.concat(parts), 'EX', REPEAT_S)
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
      sets[#sets + 1] = key_of(offer.queue, 'wait', need)
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
  local count, batches = choose(giving, request.limit, now)
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
  remember(batches, request.fence)
  return {1, '', handed_out(out)}
end
