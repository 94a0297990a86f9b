-- queue: ids, tags, keys, marks and counters of queues. Part of every script.
--
-- An id has 16 bytes: when it was made (6), sequence (2), tag of its queue (2), chance (6). In the
-- keys of a queue it stands without the tag: 14 bytes and what surrounds them fit into 16.

local function short_of(id)
  return string.sub(id, 1, 8) .. string.sub(id, 11, 16)
end

-- The keys of a queue are made when they are asked for: `queue.spec` is `ROOT:{NAME}:spec`.
local KEYS_OF = {
  __index = function(queue, name)
    local key = queue.prefix .. name
    rawset(queue, name, key)
    return key
  end,
}
local queues = {}
local names = {}

local function queue_named(name)
  local queue = queues[name]
  if not queue then
    queue = setmetatable({
      name = name, prefix = root .. ':{' .. name .. '}:', fresh = {}, delta = {}, tag = false,
      facts = false,
    }, KEYS_OF)
    queues[name] = queue
  end
  return queue
end

local function number_of_tag(tag)
  local high, low = string.byte(tag, 1, 2)
  return high * 256 + low
end

-- Look several tags up at once.
local function learn_tags(tags)
  local numbers = {}
  for place, tag in ipairs(tags) do
    numbers[place] = number_of_tag(tag)
  end
  if #tags > 0 then
    local found = redis.call('HMGET', root .. ':tags', unpack(numbers))
    for place, tag in ipairs(tags) do
      names[tag] = found[place]
    end
  end
end

-- The queue that has this tag of two bytes; nil where it was never given.
local function queue_tagged(tag)
  local name = names[tag]
  if name == nil then
    name = redis.call('HGET', root .. ':tags', number_of_tag(tag))
    names[tag] = name
  end
  if not name then
    return nil
  end
  local queue = queue_named(name)
  queue.tag = tag
  return queue
end

local function queue_of(id)
  return queue_tagged(string.sub(id, 9, 10))
end

-- Look the tags of several queues up at once; those of a queue that was never registered are zero.
local function learn_queues(several)
  local unknown, wanted = {}, {}
  for _, queue in ipairs(several) do
    if not queue.tag then
      unknown[#unknown + 1] = queue
      wanted[#wanted + 1] = queue.name
    end
  end
  if #unknown > 0 then
    local found = redis.call('HMGET', root .. ':queues', unpack(wanted))
    for place, queue in ipairs(unknown) do
      local tag = tonumber(found[place] or 0)
      queue.tag = string.char(math.floor(tag / 256), tag % 256)
    end
  end
end

-- The two bytes of a queue's tag.
local function tag_of(queue)
  if not queue.tag then
    learn_queues({queue})
  end
  return queue.tag
end

local function full_id(queue, short)
  return string.sub(short, 1, 8) .. tag_of(queue) .. string.sub(short, 9, 14)
end

-- A key of one job.
local function key_of(queue, kind, short)
  return queue.prefix .. kind .. ':' .. short
end

-- States that most jobs pass through are not counted: their hashes know how many they hold.
local IS_COUNTED = {
  blocked = true, scheduled = true, retrying = true, dead = true, cancelled = true, expired = true,
}

-- Count a job that entered or left a state; `flush` writes it down.
local function moved(queue, state, jobs)
  if IS_COUNTED[state] then
    queue.delta[state] = (queue.delta[state] or 0) + jobs
  end
end

-- What decides which commands a queue needs: whether it is paused, how many of its jobs wait for a time,
-- whether any has a deadline, children, or a record of its own. Read once a script; what this script has moved is added.
local function facts_of(queue)
  local facts = queue.facts
  if not facts then
    local read = redis.call(
      'HMGET', queue.count, 'paused', 'scheduled', 'retrying', 'has_deadlines', 'has_kids', 'has_more'
    )
    facts = {
      is_paused = read[1], timed = (read[2] or 0) + (read[3] or 0), has_deadlines = read[4],
      has_kids = read[5], has_more = read[6],
    }
    queue.facts = facts
  end
  return facts
end

-- Note that jobs of a queue have such things; `prune` forgets it when none are left.
local function mark(queue, what)
  if not facts_of(queue)[what] then
    redis.call('HSET', queue.count, what, 1)
    queue.facts[what] = '1'
  end
end

local function lease_key(id)
  return root .. ':lease:' .. id
end
