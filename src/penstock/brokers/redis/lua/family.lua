-- family: parents and children, and how a job ends for both.
--
-- Edges name jobs by their whole id, since parents and children may stand in different queues.

-- How many parents hold a job back, and how many of them have failed.
local function held_back_by(parents)
  local held, broken = 0, 0
  for place = 1, #parents, 17 do
    local parent = load(string.sub(parents, place, place + 15))
    local ignores = string.sub(parents, place + 16, place + 16) == '1'
    if parent and parent.state ~= 'completed' then
      if not parent.done then
        held = held + 1
      elseif not ignores then
        held = held + 1
        broken = broken + 1
      end
    end
  end
  return held, broken
end

local function parents_of(queue, short)
  return redis.call('HGET', queue.parents, short) or ''
end

-- (child, whether its edge ignores failure) of each edge to a job, as one flat list.
local function kids_of(queue, short)
  if redis.call('SISMEMBER', queue.has_kids, short) == 0 then
    return {}
  end
  return redis.call('HGETALL', key_of(queue, 'kids', short))
end

local function count_down(child, now)
  local left = redis.call('HINCRBY', child.queue.blocked, child.short, -1)
  if left > 0 then -- Guard: last parent
    return
  end
  leave(child)
  local due = due_of(child)
  if due and due > now then -- Guard: not before it is due
    enter(child, 'scheduled')
    return
  end
  child.more.arrival = now
  enter(child, 'queued')
end

-- Tell the children of a job that has ended; return those that end with it.
local function tell_kids(queue, short, state, now)
  local ended = {}
  local kids = kids_of(queue, short)
  for place = 1, #kids, 2 do
    local child = load(kids[place])
    if child and child.state == 'blocked' then -- Guard: only blocked children
      if state ~= 'completed' and kids[place + 1] == '0' then
        ended[#ended + 1] = child.id
      else
        count_down(child, now)
      end
    end
  end
  return ended
end

-- Make one job final, without its children.
local function end_one(job, state, reason, now, blob)
  local queue, short = job.queue, job.short
  local tail = job.run and string.sub(job.run, 40) or ''
  leave(job)
  moved(queue, state, 1)
  if next(job.more) then
    job.more.cancel = nil
    job.more.retry = nil
    keep_more(queue, short, job.more)
  end
  job.done = LETTER_OF[state] .. int(now) .. ';' .. reason .. ';' .. tail .. '\n' .. blob
  job.state = state
  redis.call('HSET', queue.done, short, job.done)
  put(key_of(queue, 'final', state), {final_entry(now, short)})
  redis.call('ZREM', queue.deadline, short)
end

-- Cancel children that a failed parent takes down, and theirs.
local function cancel_kids(ids, now)
  local todo = ids
  while #todo > 0 do
    local child = load(table.remove(todo))
    if child.state == 'blocked' then
      end_one(child, 'cancelled', 'parent_failed', now, '')
      local ended = tell_kids(child.queue, child.short, 'cancelled', now)
      -- Older ones first: a child reached by two ways stands here twice, and ends once.
      for place = #ended, 1, -1 do
        todo[#todo + 1] = ended[place]
      end
    end
  end
end

-- Make a job final, and tell its children.
local function finish(job, state, reason, now, blob)
  end_one(job, state, reason, now, blob)
  cancel_kids(tell_kids(job.queue, job.short, state, now), now)
end
