-- forget: remove a final job and all that belongs to it; for prune and delete.

-- A key stays taken until its window ends, and says how its job ended.
local function remember_end(job)
  local owner = job.queue.prefix .. 'key_of'
  local key = redis.call('HGET', owner, job.id)
  if not key then
    return
  end
  local held = redis.call('HGET', root .. ':keys', key)
  if held and string.sub(held, 1, 16) == job.id then
    local held_until, digest = string.match(held, '^(%d+);%a+;(.*)$', 17)
    redis.call('HSET', root .. ':keys', key, job.id .. held_until .. ';' .. job.state .. ';' .. digest)
  end
  redis.call('HDEL', owner, job.id)
end

-- A child that still waits for a failed parent to be requeued is cancelled for good.
local function cancel_waiting(job, now)
  local kids = kids_of(job.queue, job.id)
  local broken = {}
  for place = 1, #kids, 2 do
    local child = load(kids[place])
    if child and child.state == 'blocked' then
      local _, failed = held_back_by(parents_of(child.queue, child.id))
      if failed > 0 then
        broken[#broken + 1] = child.id
      end
    end
  end
  cancel_kids(broken, now)
end

local function forget(job, now)
  local queue, id = job.queue, job.id
  cancel_waiting(job, now)
  remember_end(job)
  local parents = parents_of(queue, id)
  for place = 1, #parents, 17 do
    local parent = string.sub(parents, place, place + 15)
    local owner = queue_of(parent)
    redis.call('HDEL', owner.kids .. parent, id)
    if redis.call('EXISTS', owner.kids .. parent) == 0 then
      redis.call('SREM', owner.has_kids, parent)
    end
  end
  leave(job)
  redis.call('HDEL', queue.spec, id)
  redis.call('HDEL', queue.more, id)
  redis.call('HDEL', queue.parents, id)
  redis.call('SREM', queue.has_kids, id)
  redis.call('DEL', queue.kids .. id, queue.attempts .. id, queue.note .. id, queue.log .. id)
  forget_id(queue, id)
end
