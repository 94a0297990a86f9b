-- enqueue: store jobs.
--
-- transitions:
--     (none) --enqueue--> queued
--     (none) --enqueue--> scheduled
--     (none) --enqueue--> blocked
--     (none) --enqueue--> cancelled
--
-- ARGV: queues (how many, then tag and name of each); how many jobs, then of each: id, head of the spec up to the instant, spec, priority, need,
-- delay, due, expires_ms, how special it is ('' plain, 'large', or 'special' with parents, key,
-- digest and key ttl behind it). Answer: of each job one text, "STATE" of a new one, "known STATE ID",
-- "parent ID", "key ID" or "large".
-- cost: a plain batch is eight commands whatever its length.

local now = wall_ms()
local answers = {}
local plain = {}

local function due_at(delay, due)
  if delay ~= '' then
    return now + tonumber(delay)
  end
  return due ~= '' and tonumber(due) or nil
end

local function spec_of(job)
  return job.head .. int(now - made_at(job.id)) .. ';' .. (job.due and int(job.due) or '') .. ';' .. job.json
end

local function known(id)
  local job = load(id)
  return 'known ' .. job.state .. ' ' .. id
end

local function add(list, first, second)
  list[#list + 1] = first
  list[#list + 1] = second
end

-- Store plain jobs: those whose id alone can be in the way.
local function store_plain()
  local by_queue = {}
  for _, job in ipairs(plain) do
    local queue = queue_of(job.id)
    local batch = by_queue[queue]
    if not batch then
      batch = {ids = {}, jobs = {}}
      by_queue[queue] = batch
    end
    batch.ids[#batch.ids + 1] = job.id
    batch.jobs[#batch.jobs + 1] = job
  end
  plain = {}
  for queue, batch in pairs(by_queue) do
    local stored = redis.call('HMGET', queue.spec, unpack(batch.ids))
    local specs, due, late, ready, ids, again, seen = {}, {}, {}, {}, {}, {}, {}
    for place, job in ipairs(batch.jobs) do
      if stored[place] or seen[job.id] then -- Guard: same id is the same job
        again[#again + 1] = job
      else
        seen[job.id] = true
        ids[#ids + 1] = job.id
        add(specs, job.id, spec_of(job))
        if job.due and job.due > now then -- Guard: not before it is due
          add(due, job.due, job.id)
          answers[job.place] = 'scheduled'
        else
          ready[job.need] = ready[job.need] or {}
          add(ready[job.need], rank_of(job.priority, now), job.id)
          answers[job.place] = 'queued'
        end
        if job.expires_ms then
          add(late, now + job.expires_ms, job.id)
        end
      end
    end
    if #specs > 0 then
      redis.call('HSET', queue.spec, unpack(specs))
      add_ids(queue, ids)
    end
    if #due > 0 then
      redis.call('ZADD', queue.due, unpack(due))
      moved(queue, nil, 'scheduled', #due / 2)
    end
    if #late > 0 then
      redis.call('ZADD', queue.deadline, unpack(late))
    end
    for need, entries in pairs(ready) do
      redis.call('ZADD', queue.ready .. need, unpack(entries))
      redis.call('SADD', queue.needs, need)
      moved(queue, nil, 'queued', #entries / 2)
      made_claimable(queue, need, #entries / 2)
    end
    for _, job in ipairs(again) do
      answers[job.place] = known(job.id)
    end
  end
end

-- The answer for a key that is taken; nil where it is free.
local function holder(job)
  local held = job.key ~= '' and redis.call('HGET', root .. ':keys', job.key)
  if not held then
    return nil
  end
  local id, held_until, state, digest = string.match(held, '^(' .. string.rep('.', 16) .. ')(%d+);(%a+);(.*)$')
  if tonumber(held_until) <= now then -- Guard: key window
    return nil
  end
  if digest ~= job.digest then -- Guard: key digest
    return 'key ' .. id
  end
  local holding = load(id)
  return 'known ' .. (holding and holding.state or state) .. ' ' .. id
end

local function hold_key(job, state)
  local held_until = now + tonumber(job.key_ttl)
  redis.call('HSET', root .. ':keys', job.key,
    job.id .. int(held_until) .. ';' .. state .. ';' .. job.digest)
  redis.call('ZADD', root .. ':keys_until', held_until, job.key)
  redis.call('HSET', queue_of(job.id).prefix .. 'key_of', job.id, job.key)
end

local function store_special(job)
  local queue = queue_of(job.id)
  if redis.call('HEXISTS', queue.spec, job.id) == 1 then -- Guard: same id is the same job
    return known(job.id)
  end
  if job.special == 'large' then
    return 'large'
  end
  local taken = holder(job)
  if taken then
    return taken
  end
  for place = 1, #job.parents, 17 do
    local parent = string.sub(job.parents, place, place + 15)
    if not load(parent) then -- Guard: parents are known
      return 'parent ' .. parent
    end
  end
  redis.call('HSET', queue.spec, job.id, spec_of(job))
  add_ids(queue, {job.id})
  if job.expires_ms then
    redis.call('ZADD', queue.deadline, now + job.expires_ms, job.id)
  end
  for place = 1, #job.parents, 17 do
    local parent = string.sub(job.parents, place, place + 15)
    local owner = queue_of(parent)
    redis.call('HSET', owner.kids .. parent, job.id, string.sub(job.parents, place + 16, place + 16))
    redis.call('SADD', owner.has_kids, parent)
  end
  if #job.parents > 0 then
    redis.call('HSET', queue.parents, job.id, job.parents)
  end
  local held, broken = held_back_by(job.parents)
  local state
  if broken > 0 then
    state = 'cancelled'
    redis.call('HSET', queue.done, job.id, 'x' .. int(now) .. ';parent_failed;\n')
    redis.call('ZADD', queue.final .. state, now, job.id)
    redis.call('ZREM', queue.deadline, job.id)
    moved(queue, nil, state, 1)
  elseif held > 0 then -- Guard: unfinished parents
    state = 'blocked'
    redis.call('HSET', queue.blocked, job.id, held)
    moved(queue, nil, state, 1)
  elseif job.due and job.due > now then -- Guard: not before it is due
    state = 'scheduled'
    redis.call('ZADD', queue.due, job.due, job.id)
    moved(queue, nil, state, 1)
  else
    state = 'queued'
    redis.call('ZADD', queue.ready .. job.need, rank_of(job.priority, now), job.id)
    redis.call('SADD', queue.needs, job.need)
    moved(queue, nil, state, 1)
    made_claimable(queue, job.need, 1)
  end
  if job.key ~= '' then
    hold_key(job, state)
  end
  return state
end

-- A server that lost its data knows no tag, while clients go on to draw ids with those that it gave.
for _ = 1, number() do
  local tag, name = number(), arg()
  local known = redis.call('HGET', root .. ':tags', tag)
  if not known and redis.call('HEXISTS', root .. ':queues', name) == 0 then
    redis.call('HSET', root .. ':queues', name, tag)
    redis.call('HSET', root .. ':tags', tag, name)
  elseif known ~= name then
    return redis.error_reply('PENSTOCK_TAGS given anew')
  end
  names[tag] = name
end

for place = 1, number() do
  local job = {
    place = place, id = arg(), head = arg(), json = arg(), priority = number(), need = arg(),
    due = due_at(arg(), arg()), expires_ms = number(), special = arg(),
  }
  if job.special == '' then
    plain[#plain + 1] = job
  else
    job.parents, job.key, job.digest, job.key_ttl = arg(), arg(), arg(), arg()
    -- Parents and keys may stand earlier in the same batch.
    store_plain()
    answers[place] = store_special(job)
  end
end
store_plain()
flush()
return answers
