-- walk: the best jobs of several ready sets, page by page. Part of claim.

-- What a priority band spans in a rank (core/rank.py).
local BAND = 281474976710656
-- Entries past their deadline that a claim passes over in one ready set: some milliseconds.
local LATE_MAX = 2000

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
      walk.late = walk.late + 1
      if walk.late == LATE_MAX then -- Bound: entries past their deadline that one claim looks at
        walk.entries = nil
      end
    end
  end
  walk.entry = nil
end

local function new_walk(offer, need, chunk, now)
  local walk = {
    offer = offer, need = need, index = key_of(offer.queue, 'ready', need), chunk = chunk,
    deadline = facts_of(offer.queue).has_deadlines and offer.queue.deadline, pages = {}, place = 0,
    entries = {}, late = 0,
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

-- The walks along the offered sets that have something to give, and whether one was cut short.
local function walks_along(offers, limit, now)
  local walks, sets, is_cut = {}, 0, false
  for _, offer in ipairs(offers) do
    sets = sets + #offer.needs
  end
  local chunk = math.max(math.ceil(limit / math.max(sets, 1)), 4)
  for _, offer in ipairs(offers) do
    for _, need in ipairs(offer.needs) do
      local walk = new_walk(offer, need, chunk, now)
      is_cut = is_cut or walk.late == LATE_MAX
      if walk.entry then
        walks[#walks + 1] = walk
      end
    end
  end
  return walks, is_cut
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

-- Take the best jobs of the offers out of their sets. Return how many; of each queue that gives some:
-- ids without tag, ranks, and places in the order of all; and whether late jobs cut a look short.
local function choose(offers, limit, now)
  local walks, is_cut = walks_along(offers, limit, now)
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
  return count, batches, is_cut
end
