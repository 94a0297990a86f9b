-- forget: remove a final job and all that belongs to it; for prune and delete.

-- A key stays taken until its window ends, and says how its job ended.
local function remember_end(job)
  local key = redis.call('HGET', job.queue.key_of, job.short)
  if not key then
    return
  end
  local held = redis.call('HGET', root .. ':keys', key)
  if held and string.sub(held, 1, 16) == job.id then
    local held_until, digest = string.match(held, '^(%d+);%a+;(.*)$', 17)
    redis.call('HSET', root .. ':keys', key, job.id .. held_until .. ';' .. job.state .. ';' .. digest)
  end
  redis.call('HDEL', job.queue.key_of, job.short)
end

-- A child that still waits for a failed parent to be requeued is cancelled for good.
local function cancel_waiting(job, now)
  local kids = kids_of(job.queue, job.short)
  local broken = {}
  for place = 1, #kids, 2 do
    local child = load(kids[place])
    if child and child.state == 'blocked' then
      local _, failed = held_back_by(parents_of(child.queue, child.short))
      if failed > 0 then
        broken[#broken + 1] = child.id
      end
    end
  end
  cancel_kids(broken, now)
end

local function forget(job, now)
  local queue, short = job.queue, job.short
  cancel_waiting(job, now)
  remember_end(job)
  local parents = parents_of(queue, short)
  for place = 1, #parents, 17 do
    local parent = string.sub(parents, place, place + 15)
    local owner, kept_as = queue_of(parent), short_of(parent)
    redis.call('HDEL', key_of(owner, 'kids', kept_as), job.id)
    if redis.call('EXISTS', key_of(owner, 'kids', kept_as)) == 0 then
      redis.call('SREM', owner.has_kids, kept_as)
    end
  end
  leave(job)
  redis.call('HDEL', queue.spec, short)
  redis.call('HDEL', queue.more, short)
  redis.call('HDEL', queue.parents, short)
  redis.call('SREM', queue.has_kids, short)
  redis.call('DEL', key_of(queue, 'kids', short), key_of(queue, 'attempts', short),
    key_of(queue, 'note', short), key_of(queue, 'log', short))
  take_out(queue.ids, short)
end
