-- peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.
--
-- transitions: none.

-- State, end and kept attempts of a job: what those need who wait for it. They ask again and again, so
-- that the spec, which may be large, is left where it is.
local function status_of(id)
  local queue, short = queue_of(id), short_of(id)
  if not queue or redis.call('HEXISTS', queue.spec, short) == 0 then
    return false
  end
  local state, _, done = state_of(queue, short, more_of(queue, short))
  return {state, done or '', redis.call('LRANGE', key_of(queue, 'attempts', short), 0, -1)}
end

local function record_of(id)
  local job = load(id)
  if not job then
    return false
  end
  local queue, short = job.queue, job.short
  return {
    id, queue.name, job.stored, job.state, redis.call('HGET', queue.more, short) or '',
    job.run or '', job.done or '', redis.call('HGET', queue.blocked, short) or '0',
    parents_of(queue, short), redis.call('LRANGE', key_of(queue, 'attempts', short), 0, -1),
    redis.call('HGETALL', key_of(queue, 'note', short)),
    redis.call('LRANGE', key_of(queue, 'log', short), 0, -1),
  }
end

local function each(read)
  local answers = {}
  for place, id in ipairs(ARGV) do
    answers[place] = read(id)
  end
  return answers
end

-- What the ids of a queue are below, as they stand there: ids of one instant are ordered by tag first.
local function bound_in(queue, id)
  local instant, tag = string.sub(id, 1, 8), string.sub(id, 9, 10)
  if tag_of(queue) == tag then
    return short_of(id)
  end
  return is_before(tag_of(queue), tag) and instant .. string.rep('\255', 7) or instant
end

-- ARGV: how many, an id below which to look or '', names. Answer: records, newest id first.
local function listing()
  local wanted, before = number(), arg()
  local ids = {}
  while at < #ARGV do
    local queue = queue_named(arg())
    local below = before ~= '' and bound_in(queue, before) or ''
    for _, short in ipairs(last_entries(queue.ids, below, wanted)) do
      ids[#ids + 1] = full_id(queue, short)
    end
  end
  table.sort(ids, function(a, b)
    return is_before(b, a)
  end)
  local records = {}
  for place = 1, math.min(wanted, #ids) do
    records[place] = record_of(ids[place])
  end
  return records
end

local function needs_of(queue)
  local needs = {}
  for _, need in ipairs(redis.call('SMEMBERS', queue.needs)) do
    if redis.call('EXISTS', key_of(queue, 'ready', need)) == 1 then
      needs[#needs + 1] = need
    end
  end
  return needs
end

local function needs()
  local answers = {}
  for place, name in ipairs(ARGV) do
    answers[place] = needs_of(queue_named(name))
  end
  return answers
end

-- The oldest of a ready set is the head of one of its priority bands.
local function oldest_of(queue)
  local oldest
  for _, need in ipairs(needs_of(queue)) do
    for band = 0, 10 do
      local head = first_from(key_of(queue, 'ready', need), string.char(band))
      local arrival = head and string.byte(head) == band and number_at(head, 2)
      if arrival and (not oldest or arrival < oldest) then
        oldest = arrival
      end
    end
  end
  return oldest
end

local function counts()
  local now = wall_ms()
  local answers = {}
  for _, name in ipairs(redis.call('HKEYS', root .. ':queues')) do
    local queue = queue_named(name)
    local oldest = oldest_of(queue)
    answers[#answers + 1] = {
      name, redis.call('HGETALL', queue.count), oldest and int(now - oldest) or '',
      redis.call('HLEN', queue.spec), redis.call('HLEN', queue.run), redis.call('HLEN', queue.done),
    }
  end
  return answers
end

local function leases()
  local now = lease_ms()
  local answers = {}
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':leases')) do
    local found = redis.call('HMGET', lease_key(id),
      'closed', 'queues', 'owner', 'expires', 'running', 'token', 'capacity')
    if found[1] == '0' then
      answers[#answers + 1] = {
        id, found[2], found[3], int(tonumber(found[4]) - now), tonumber(found[5]), found[6], found[7],
      }
    end
  end
  return answers
end
