-- peek, get, list_jobs, counts, needs, leases: reads, for people and for those who wait.
--
-- transitions: none.

-- State, end and kept attempts of a job: what those need who wait for it.
local function status_of(id)
  local job = load(id)
  if not job then
    return false
  end
  return {job.state, job.done or '', redis.call('LRANGE', job.queue.attempts .. id, 0, -1)}
end

local function record_of(id)
  local job = load(id)
  if not job then
    return false
  end
  local queue = job.queue
  return {
    id, queue.name, job.stored, job.state, redis.call('HGET', queue.more, id) or '',
    job.run or '', job.done or '', redis.call('HGET', queue.blocked, id) or '0',
    parents_of(queue, id), redis.call('LRANGE', queue.attempts .. id, 0, -1),
    redis.call('HMGET', queue.note .. id, 'progress', 'checkpoint'),
    redis.call('LRANGE', queue.log .. id, 0, -1),
  }
end

local function each(read)
  local answers = {}
  for place, id in ipairs(ARGV) do
    answers[place] = read(id)
  end
  return answers
end

-- ARGV: how many, an id below which to look or '', names. Answer: records, newest id first.
local function listing()
  local wanted, before = number(), arg()
  local ids = {}
  while at < #ARGV do
    local queue = queue_named(arg())
    local below = before == '' and '+' or '(' .. before
    local left = wanted
    local first = redis.call('ZREVRANGEBYLEX', queue.pages, below, '-', 'LIMIT', 0, 1)[1]
    while first and left > 0 do
      local found = redis.call('ZREVRANGEBYLEX', queue.page .. first, below, '-', 'LIMIT', 0, left)
      for _, id in ipairs(found) do
        ids[#ids + 1] = id
      end
      left = left - #found
      first = redis.call('ZREVRANGEBYLEX', queue.pages, '(' .. first, '-', 'LIMIT', 0, 1)[1]
    end
  end
  table.sort(ids, function(a, b)
    return a > b
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
    if redis.call('EXISTS', queue.ready .. need) == 1 then
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
      local head = redis.call('ZRANGEBYSCORE', queue.ready .. need, int(band * BAND), '(' .. int((band + 1) * BAND), 'WITHSCORES', 'LIMIT', 0, 1)
      local arrival = head[2] and tonumber(head[2]) % BAND
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
    answers[#answers + 1] = {name, redis.call('HGETALL', queue.count), oldest and int(now - oldest) or ''}
  end
  return answers
end

local function leases()
  local now = lease_ms()
  local answers = {}
  for _, id in ipairs(redis.call('SMEMBERS', root .. ':leases')) do
    local found = redis.call('HMGET', lease_key(id), 'closed', 'queues', 'owner', 'expires', 'running', 'token')
    if found[1] == '0' then
      answers[#answers + 1] = {id, found[2], found[3], int(tonumber(found[4]) - now), tonumber(found[5]), found[6]}
    end
  end
  return answers
end
