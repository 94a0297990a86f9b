-- settle what has run, and claim the best of the offered ready sets.
--
-- ARGV: lease, fence, limit, token; settlements (how many queues), and of each: queue, how many jobs, then
-- id, fence and result of each; offers (how many queues), and of each: queue, how many needs, needs.
-- Answer: queue, id and spec of each job that was claimed.

local RANK_BYTES, INSTANT_BYTES = 7, 6
local REPEAT_S = 600

local lease, fence, limit, token = arg(), arg(), number(), arg()
local lease_key = KEYS[1] .. ':lease:' .. lease
local now = now_ms()
local instant = int(now)

local function count_up(queue, state, jobs)
  if HAS.counters then
    redis.call('HINCRBY', key_of(queue, 'count'), state, jobs)
  end
end

local function mark(queue, ids, state)
  if HAS.state then
    local words = {}
    for place, id in ipairs(ids) do
      words[2 * place - 1], words[2 * place] = id, state
    end
    redis.call('HSET', key_of(queue, 'state'), unpack(words))
  end
end

local function settle(queue, ids, fences, results)
  local runs = redis.call('HMGET', key_of(queue, 'run'), unpack(ids))
  local gone, done, final = {}, {}, {}
  for place, id in ipairs(ids) do
    local held = runs[place]
    if held and string.sub(held, 1, 16) == fences[place] then
      gone[#gone + 1] = id
      done[#done + 1] = id
      done[#done + 1] = 'c' .. instant .. ';;' .. string.sub(held, 40) .. '\n' .. results[place]
      final[#final + 1] = bytes_of(now) .. id
    end
  end
  if #gone == 0 then
    return
  end
  redis.call('HSET', key_of(queue, 'done'), unpack(done))
  redis.call('HDEL', key_of(queue, 'run'), unpack(gone))
  FINAL.add(key_of(queue, 'final'), INSTANT_BYTES, final)
  mark(queue, gone, 'c')
  redis.call('EXISTS', key_of(queue, 'deadline'))
  redis.call('EXISTS', key_of(queue, 'has_kids'))
  if HAS.lease then
    redis.call('HINCRBY', lease_key, 'running', -#gone)
    redis.call('EXISTS', lease_key .. ':cancels')
  end
  count_up(queue, 'running', -#gone)
  count_up(queue, 'completed', #gone)
end

-- The first entries of each offered set that has any: its share of the limit, and as many again.
local function read_walks()
  local walks, sets = {}, 0
  local offers = {}
  for place = 1, number() do
    offers[place] = {queue = arg(), needs = {}}
    for need = 1, number() do
      offers[place].needs[need] = arg()
      sets = sets + 1
    end
  end
  local chunk = sets == 1 and limit or math.max(2 * math.ceil(limit / sets), 4)
  for _, offer in ipairs(offers) do
    redis.call('HMGET', key_of(offer.queue, 'count'), 'paused', 'scheduled', 'retrying')
    for _, need in ipairs(offer.needs) do
      local key = key_of(offer.queue, 'ready:' .. need)
      local walk = READY.read(key, RANK_BYTES, chunk)
      if #walk.ids > 0 then
        walk.queue, walk.taken, walk.has_more = offer.queue, 0, #walk.ids == chunk and chunk < limit
        walks[#walks + 1] = walk
      end
    end
  end
  return walks
end

-- Read a ready set again, up to the limit. Nothing was taken out yet: the same entries come first.
local function read_on(walk)
  local whole = READY.read(walk.key, RANK_BYTES, limit)
  walk.ids, walk.ranks, walk.pages, walk.has_more = whole.ids, whole.ranks, whole.pages, false
end

local function weigh(walk)
  if walk.taken == #walk.ids and walk.has_more then
    read_on(walk)
  end
  local rank = walk.ranks[walk.taken + 1]
  walk.weight = rank and (#rank == RANK_BYTES and number_of(rank, RANK_BYTES) or tonumber(rank))
end

-- How many to take along each walk, so that the best are taken.
local function choose(walks)
  if #walks == 1 then
    if walks[1].has_more then
      read_on(walks[1])
    end
    walks[1].taken = math.min(limit, #walks[1].ids)
    return
  end
  for _, walk in ipairs(walks) do
    weigh(walk)
  end
  for _ = 1, limit do
    local best
    for _, walk in ipairs(walks) do
      if walk.weight and (not best or walk.weight < best.weight) then
        best = walk
      end
    end
    if not best then
      return
    end
    best.taken = best.taken + 1
    weigh(best)
  end
end

local function run(walk, out)
  local ids, words = {}, {}
  local rest = '.1;;' .. instant .. ';12345;worker@host'
  for place = 1, walk.taken do
    ids[place] = walk.ids[place]
    words[2 * place - 1] = ids[place]
    words[2 * place] = fence .. lease .. walk.ranks[place] .. rest
  end
  local specs = redis.call('HMGET', key_of(walk.queue, 'spec'), unpack(ids))
  redis.call('EXISTS', key_of(walk.queue, 'more'))
  redis.call('HSET', key_of(walk.queue, 'run'), unpack(words))
  mark(walk.queue, ids, 'r')
  count_up(walk.queue, 'queued', -#ids)
  count_up(walk.queue, 'running', #ids)
  for place, id in ipairs(ids) do
    out[#out + 1] = walk.queue
    out[#out + 1] = id
    out[#out + 1] = specs[place]
  end
  READY.drop(walk, walk.taken)
end

local function claim()
  if HAS.lease then
    local held = redis.call('HMGET', lease_key, 'expires', 'closed', 'queues', 'pid', 'worker')
    if held[2] ~= '0' or tonumber(held[1]) <= now then
      return {}
    end
  end
  if HAS.repeats then
    redis.call('GET', KEYS[1] .. ':claim:' .. fence)
  end
  local out, walks = {}, read_walks()
  choose(walks)
  local names, count = {}, 0
  for _, walk in ipairs(walks) do
    if walk.taken > 0 then
      run(walk, out)
      count = count + walk.taken
      names[#names + 1] = table.concat(walk.ids, '', 1, walk.taken)
    end
  end
  if count > 0 and HAS.lease then
    redis.call('HINCRBY', lease_key, 'running', count)
  end
  if count > 0 and HAS.repeats then
    redis.call('SET', KEYS[1] .. ':claim:' .. fence, table.concat(names), 'EX', REPEAT_S)
  end
  if HAS.tokens then
    redis.call('SMEMBERS', KEYS[1] .. ':token:' .. token)
  end
  return out
end

for _ = 1, number() do
  local queue, ids, fences, results = arg(), {}, {}, {}
  for place = 1, number() do
    ids[place], fences[place], results[place] = arg(), arg(), arg()
  end
  settle(queue, ids, fences, results)
end
return claim()
