-- requeue: give final jobs a new budget of attempts.
--
-- transitions:
--     dead --requeue--> queued
--     cancelled --requeue--> queued
--     expired --requeue--> queued
--     completed --requeue--> queued
--     cancelled --requeue--> blocked
--
-- ARGV: ids. Answer: one word each.
-- cost: one visit per edge below each job, as far as its failure reached.

local now = wall_ms()
local answers = {}

local function keep_last_attempt(job, tail, blob)
  local n, _, claimed, claimer, worker = string.match(tail, '^.(%d+);(%d*);(%d+);(%d+);(.*)$')
  if not n then
    return
  end
  local pid, outcome, size, text = string.match(blob, '^(%d*);([^;]*);[01];(%d+);()')
  local key = key_of(job.queue, 'attempts', job.short)
  redis.call('RPUSH', key, cmsgpack.pack({
    tonumber(n), worker, tonumber(pid ~= '' and pid or claimer), tonumber(claimed),
    tonumber((end_of(job.done))), outcome, string.sub(blob, text, text + tonumber(size) - 1),
  }))
  redis.call('LTRIM', key, -25, -1)
  job.more.n = tonumber(n)
end

-- Give one job a new budget and a new deadline; its number, attempts, log and checkpoint stay.
local function revive_one(job, held)
  local _, _, tail, blob = end_of(job.done)
  keep_last_attempt(job, tail, blob)
  leave(job)
  local more = job.more
  more.charges, more.need, more.arrival = nil, nil, now
  if job.asked.expires_ms then
    more.expires = now + job.asked.expires_ms
    redis.call('ZADD', job.queue.deadline, more.expires, job.short)
    mark(job.queue, 'has_deadlines')
  end
  job.left = held
  if held == 0 then
    more.due = 0
  end
  enter(job, held > 0 and 'blocked' or 'queued')
end

-- Move a final job back, and the children that it took down back to blocked.
local function revive(first, left)
  local todo = {{first, left}}
  while #todo > 0 do
    local entry = table.remove(todo)
    local job = load(entry[1])
    local was_completed = job.state == 'completed'
    if job.done then
      revive_one(job, entry[2])
      local kids = kids_of(job.queue, job.short)
      for place = 1, #kids, 2 do
        local child = load(kids[place])
        if was_completed or kids[place + 1] == '1' then
          if child.state == 'blocked' then -- Guard: only blocked children
            -- The edge was counted down; now it holds the child back again.
            redis.call('HINCRBY', child.queue.blocked, child.short, 1)
          end
        elseif child.state == 'cancelled' and select(2, end_of(child.done)) == 'parent_failed' then
          local held, broken = held_back_by(parents_of(child.queue, child.short))
          if broken == 0 then -- Guard: no parent stands failed
            todo[#todo + 1] = {child.id, held}
          end
        end
      end
    end
  end
end

local function requeue(id)
  local job = load(id)
  if not job then
    return 'not_found'
  end
  if not job.done then -- Guard: only final jobs
    return 'wrong_state'
  end
  local held = held_back_by(parents_of(job.queue, job.short))
  if held > 0 and select(2, end_of(job.done)) == 'parent_failed' then -- Guard: parents first
    revive(id, held)
  else
    revive(id, 0)
  end
  return 'done'
end

for place, id in ipairs(ARGV) do
  answers[place] = requeue(id)
end
flush()
return answers
