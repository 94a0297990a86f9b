-- indexes: the kinds of ordered index that a layout chooses from.
--
-- An entry is a prefix, by which the index is ordered, and an id. Each kind has the same functions:
--   add(key, prefix, entries): put in entries that rise, and stand behind all that are there
--   read(key, prefix, count): a walk with the first ids, and the ranks that order them
--   drop(walk, count): take the first entries of a walk out
--   head(key): the first entry
-- A rank is what the kind reads at no cost: a number from a sorted set, bytes from the others.

local none = {add = function() end}

-- One sorted set: the prefix is the score.
local set = {}

function set.add(key, prefix, entries)
  local words = {}
  for place, entry in ipairs(entries) do
    words[2 * place - 1] = number_of(entry, prefix)
    words[2 * place] = string.sub(entry, prefix + 1)
  end
  redis.call('ZADD', key, unpack(words))
end

function set.read(key, _, count)
  local found = redis.call('ZRANGE', key, 0, count - 1, 'WITHSCORES')
  local walk = {key = key, ids = {}, ranks = {}}
  for place = 1, #found / 2 do
    walk.ids[place] = found[2 * place - 1]
    walk.ranks[place] = int(tonumber(found[2 * place]))
  end
  return walk
end

function set.drop(walk, count)
  redis.call('ZREMRANGEBYRANK', walk.key, 0, count - 1)
end

-- Add entries to the ids and ranks of a walk.
local function split(walk, prefix, entries)
  local count = #walk.ids
  for place, entry in ipairs(entries) do
    walk.ids[count + place] = string.sub(entry, prefix + 1)
    walk.ranks[count + place] = string.sub(entry, 1, prefix)
  end
end

-- A list: for the jobs of one group.
local list = {}

function list.add(key, _, entries)
  redis.call('RPUSH', key, unpack(entries))
end

function list.read(key, prefix, count)
  local walk = {key = key, ids = {}, ranks = {}}
  split(walk, prefix, redis.call('LRANGE', key, 0, count - 1))
  return walk
end

function list.drop(walk, count)
  redis.call('LPOP', walk.key, count)
end

function list.head(key)
  return redis.call('LINDEX', key, 0)
end

-- Small sorted sets in the compact encoding, and one that names them by their first entries.
local function pages(page_max)
  local kind = {}

  local function write(key, entries, from, to)
    local words = {}
    for place = from, to do
      words[#words + 1] = 0
      words[#words + 1] = entries[place]
    end
    redis.call('ZADD', key, unpack(words))
  end

  function kind.add(key, _, entries)
    local last, from = redis.call('ZREVRANGE', key, 0, 0)[1], 1
    if last then
      local page = key .. ':' .. last
      local to = math.min(#entries, page_max - redis.call('ZCARD', page))
      if to > 0 then
        write(page, entries, 1, to)
        from = to + 1
      end
    end
    while from <= #entries do
      local to = math.min(#entries, from + page_max - 1)
      redis.call('ZADD', key, 0, entries[from])
      write(key .. ':' .. entries[from], entries, from, to)
      from = to + 1
    end
  end

  function kind.read(key, prefix, count)
    local walk = {key = key, ids = {}, ranks = {}, pages = {}}
    local name = redis.call('ZRANGE', key, 0, 0)[1]
    while name and #walk.ids < count do
      local page = {name = name, key = key .. ':' .. name}
      local found = redis.call('ZRANGE', page.key, 0, count - #walk.ids - 1)
      page.count = #found
      walk.pages[#walk.pages + 1] = page
      split(walk, prefix, found)
      if #walk.ids < count then
        name = redis.call('ZRANGEBYLEX', key, '(' .. name, '+', 'LIMIT', 0, 1)[1]
      end
    end
    return walk
  end

  function kind.drop(walk, count)
    for _, page in ipairs(walk.pages) do
      if count <= 0 then
        return
      end
      redis.call('ZREMRANGEBYRANK', page.key, 0, math.min(count, page.count) - 1)
      if count >= page.count and redis.call('EXISTS', page.key) == 0 then
        redis.call('ZREM', walk.key, page.name)
      end
      count = count - page.count
    end
  end

  function kind.head(key)
    local name = redis.call('ZRANGE', key, 0, 0)[1]
    return name and redis.call('ZRANGE', key .. ':' .. name, 0, 0)[1]
  end

  return kind
end
