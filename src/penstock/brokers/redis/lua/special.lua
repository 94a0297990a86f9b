-- special: store jobs one by one that have parents, a key, or a time to wait for. Part of enqueue.

local function due_at(delay, due)
  if delay ~= '' then
    return now + tonumber(delay)
  end
  return due ~= '' and tonumber(due) or nil
end

local function spec_of(job)
  return job.head .. int(now - number_at(job.id, 1)) .. ';' .. (job.due and int(job.due) or '') .. ';' .. job.json
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
  redis.call('HSET', job.queue.key_of, job.short, job.key)
end

-- Note the edges to the parents on both sides.
local function hold_edges(job)
  for place = 1, #job.parents, 17 do
    local parent = string.sub(job.parents, place, place + 15)
    local owner, short = queue_of(parent), short_of(parent)
    local ignores = string.sub(job.parents, place + 16, place + 16)
    redis.call('HSET', key_of(owner, 'kids', short), job.id, ignores)
    redis.call('SADD', owner.has_kids, short)
    mark(owner, 'has_kids')
  end
  if #job.parents > 0 then
    redis.call('HSET', job.queue.parents, job.short, job.parents)
  end
end

-- Put a new job where it belongs; return its state.
local function place(job)
  local queue, short = job.queue, job.short
  local held, broken = held_back_by(job.parents)
  if broken > 0 then
    redis.call('HSET', queue.done, short, 'x' .. int(now) .. ';parent_failed;\n')
    put(key_of(queue, 'final', 'cancelled'), {final_entry(now, short)})
    redis.call('ZREM', queue.deadline, short)
    moved(queue, 'cancelled', 1)
    return 'cancelled'
  end
  if held > 0 then -- Guard: unfinished parents
    redis.call('HSET', queue.blocked, short, held)
    moved(queue, 'blocked', 1)
    return 'blocked'
  end
  if job.due and job.due > now then -- Guard: not before it is due
    redis.call('ZADD', queue.due, job.due, short)
    moved(queue, 'scheduled', 1)
    return 'scheduled'
  end
  make_ready(queue, job.need, {ready_entry(job.priority, now, short)})
  return 'queued'
end

local function store_special(job)
  local queue = job.queue
  if redis.call('HEXISTS', queue.spec, job.short) == 1 then -- Guard: same id is the same job
    return known(job.id)
  end
  if job.is_large == '1' then
    return 'large'
  end
  local taken = holder(job)
  if taken then
    return taken
  end
  for edge = 1, #job.parents, 17 do
    local parent = string.sub(job.parents, edge, edge + 15)
    if not load(parent) then -- Guard: parents are known
      return 'parent ' .. parent
    end
  end
  redis.call('HSET', queue.spec, job.short, spec_of(job))
  put(queue.ids, {job.short})
  if job.expires_ms then
    redis.call('ZADD', queue.deadline, now + job.expires_ms, job.short)
    mark(queue, 'has_deadlines')
  end
  hold_edges(job)
  local state = place(job)
  if job.key ~= '' then
    hold_key(job, state)
  end
  return state
end

-- ARGV of a special section: id, head of the spec up to the instant, spec as JSON, priority, need,
-- delay, due, expires_ms, '1' where the payload is too large, parents, key, digest, key ttl.
function special_section()
  local job = {
    id = arg(), head = arg(), json = arg(), priority = number(), need = arg(),
    due = due_at(arg(), arg()), expires_ms = number(), is_large = arg(), parents = arg(),
    key = arg(), digest = arg(), key_ttl = arg(),
  }
  job.queue, job.short = queue_of(job.id), short_of(job.id)
  return {store_special(job)}
end
