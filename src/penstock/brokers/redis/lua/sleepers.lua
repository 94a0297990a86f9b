-- sleepers: tokens left by claims that found nothing, and who is woken.
--
-- A token may wait at several ready sets; it is taken from all of them when it is woken.

-- All that children run has one place to sleep at: nobody can name the sets that none has seen yet.
local function wait_set(need)
  if string.find(need, 'alone', 1, true) == 1 or string.find(need, 'takes.', 1, true) == 1 then
    return 'alone'
  end
  return need
end

local function leave_token(token, sets)
  local seq = redis.call('INCR', root .. ':seq')
  for _, wait in ipairs(sets) do
    redis.call('ZADD', wait, 'NX', seq, token)
    redis.call('SADD', root .. ':token:' .. token, wait)
  end
end

local function take_token(token)
  local waits = redis.call('SMEMBERS', root .. ':token:' .. token)
  for _, wait in ipairs(waits) do
    redis.call('ZREM', wait, token)
  end
  if #waits > 0 then
    redis.call('DEL', root .. ':token:' .. token)
  end
end

-- Whether somebody heard it.
local function wake(token)
  return redis.call('PUBLISH', root .. ':wake:' .. token, '') > 0
end

-- Wake as many sleepers at a ready set as `jobs` can feed, longest waiting first; a dead one feeds
-- nobody, and the next one is woken in its place.
local function feed(queue, need, jobs)
  local wait = key_of(queue, 'wait', wait_set(need))
  while jobs > 0 do
    local token = redis.call('ZRANGE', wait, 0, 0)[1]
    if not token then
      return
    end
    if redis.call('HGET', queue.count, 'paused') then -- Guard: paused queue
      return
    end
    take_token(token)
    if wake(token) then
      jobs = jobs - 1
    end
  end
end

local function made_claimable(queue, need, jobs)
  queue.fresh[need] = (queue.fresh[need] or 0) + jobs
end

-- Write the counters and wake sleepers: the end of every script that moves jobs.
local function flush()
  for _, queue in pairs(queues) do
    for state, jobs in pairs(queue.delta) do
      if jobs ~= 0 then
        redis.call('HINCRBY', queue.count, state, jobs)
      end
    end
    for need, jobs in pairs(queue.fresh) do
      feed(queue, need, jobs)
    end
  end
end
