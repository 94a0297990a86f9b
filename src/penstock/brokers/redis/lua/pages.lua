-- pages: an ordered set of byte strings, at about 25 bytes an entry beside its own.
--
-- One large sorted set costs some 110 bytes for each entry. Here the entries stand in order in pages,
-- sorted sets that are small enough for the compact encoding (zset-max-listpack-entries 128). An
-- insertion looks through half a page: 64 entries take half the time of 128, and 4 bytes more a job. The
-- index names the pages: each by a string that is not behind any of its entries, and behind all
-- entries of the page before; the first may be ''. Both are ordered by bytes, all scores are 0.
--
-- Invariant: a name stands in the index as long as its page has entries.

local PAGE_MAX = 64

local function page_key(index, name)
  return index .. ':' .. name
end

-- The name of the page that an entry belongs to; nil where it stands before all pages.
local function page_of(index, entry)
  return redis.call('ZREVRANGEBYLEX', index, '[' .. entry, '-', 'LIMIT', 0, 1)[1]
end

local function next_page(index, name)
  if not name then
    return redis.call('ZRANGE', index, 0, 0)[1]
  end
  return redis.call('ZRANGEBYLEX', index, '(' .. name, '+', 'LIMIT', 0, 1)[1]
end

local function write_page(index, name, entries, from, to)
  local words = {}
  for place = from, to do
    words[#words + 1] = 0
    words[#words + 1] = entries[place]
  end
  redis.call('ZADD', page_key(index, name), unpack(words))
end

-- Pages of up to `size` entries, each named by its first.
local function write_pages(index, entries, from, size)
  while from <= #entries do
    local to = math.min(#entries, from + size - 1)
    redis.call('ZADD', index, 0, entries[from])
    write_page(index, entries[from], entries, from, to)
    from = to + 1
  end
end

local function merged(some, others)
  local all, here, there = {}, 1, 1
  while here <= #some or there <= #others do
    local takes_some = there > #others or (here <= #some and is_before(some[here], others[there]))
    if takes_some then
      all[#all + 1], here = some[here], here + 1
    else
      all[#all + 1], there = others[there], there + 1
    end
  end
  return all
end

-- Write a page that would grow too large anew, as several with room to grow.
local function rewrite(index, name, entries)
  local page = page_key(index, name)
  local all = merged(redis.call('ZRANGE', page, 0, -1), entries)
  local size = math.ceil(#all / math.ceil(#all / (PAGE_MAX * 3 / 4)))
  redis.call('DEL', page)
  write_page(index, name, all, 1, size)
  write_pages(index, all, size + 1, size)
end

-- Put entries in that rise and are not there yet; return whether there may have been none before.
-- cost: three commands where they belong to the last page, as most do; one or two more elsewhere.
local function put(index, entries)
  local last = #entries
  local name = redis.call('ZREVRANGE', index, 0, 0)[1]
  if name and is_before(entries[1], name) then
    name = page_of(index, entries[1])
    if last > 1 and page_of(index, entries[last]) ~= name then
      local is_first = false
      for _, entry in ipairs(entries) do
        is_first = put(index, {entry}) or is_first
      end
      return is_first
    end
  end
  local is_first = not name
  if is_first then
    name = ''
    redis.call('ZADD', index, 0, name)
  end
  local page = page_key(index, name)
  local room = PAGE_MAX - redis.call('ZCARD', page)
  if last <= room then
    write_page(index, name, entries, 1, last)
    return is_first
  end
  local newest = redis.call('ZREVRANGE', page, 0, 0)[1]
  if newest and is_before(entries[1], newest) then
    rewrite(index, name, entries)
    return is_first
  end
  if room > 0 then
    write_page(index, name, entries, 1, room)
  end
  write_pages(index, entries, math.max(room, 0) + 1, PAGE_MAX)
  return is_first
end

-- Return whether it stood there.
local function take_out(index, entry)
  local name = page_of(index, entry)
  if not name or redis.call('ZREM', page_key(index, name), entry) == 0 then
    return false
  end
  if redis.call('EXISTS', page_key(index, name)) == 0 then
    redis.call('ZREM', index, name)
  end
  return true
end

-- The entry that ends so; nil where there is none.
local function entry_ending(index, ending)
  local name = next_page(index)
  while name do
    for _, entry in ipairs(redis.call('ZRANGE', page_key(index, name), 0, -1)) do
      if string.sub(entry, -#ending) == ending then
        return entry
      end
    end
    name = next_page(index, name)
  end
end

-- The first entry that is not before `start`; nil where there is none.
local function first_from(index, start)
  local name = page_of(index, start)
  if name then
    local found = redis.call('ZRANGEBYLEX', page_key(index, name), '[' .. start, '+', 'LIMIT', 0, 1)[1]
    if found then
      return found
    end
  end
  local following = redis.call('ZRANGEBYLEX', index, '(' .. start, '+', 'LIMIT', 0, 1)[1]
  return following and redis.call('ZRANGE', page_key(index, following), 0, 0)[1]
end

-- Up to `count` first entries.
local function first_entries(index, count)
  local entries, name = {}, next_page(index)
  while name and #entries < count do
    local found = redis.call('ZRANGE', page_key(index, name), 0, count - #entries - 1)
    for _, entry in ipairs(found) do
      entries[#entries + 1] = entry
    end
    name = next_page(index, name)
  end
  return entries
end

-- Up to `count` entries before `below`, or the last ones where it is '', falling.
local function last_entries(index, below, count)
  local entries = {}
  local bound = below == '' and '+' or '(' .. below
  local name = redis.call('ZREVRANGEBYLEX', index, bound, '-', 'LIMIT', 0, 1)[1]
  while name and #entries < count do
    local left = count - #entries
    local found = redis.call('ZREVRANGEBYLEX', page_key(index, name), bound, '-', 'LIMIT', 0, left)
    for _, entry in ipairs(found) do
      entries[#entries + 1] = entry
    end
    name = redis.call('ZREVRANGEBYLEX', index, '(' .. name, '-', 'LIMIT', 0, 1)[1]
  end
  return entries
end
