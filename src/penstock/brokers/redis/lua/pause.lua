-- pause, resume: stop and start the claims of one queue.
--
-- transitions: none.
--
-- ARGV: name, '1' to pause or '0' to resume. Answer: whether the queue is known.

local name, is_pause = arg(), arg() == '1'
if redis.call('HEXISTS', root .. ':queues', name) == 0 then -- Guard: the queue is known
  return 0
end
local queue = queue_named(name)
if is_pause then
  redis.call('HSET', queue.count, 'paused', 1)
  return 1
end
redis.call('HDEL', queue.count, 'paused')
-- Of one ready set there are as many at most as the queue has at all: more than enough are woken.
local queued = redis.call('HLEN', queue.spec)
for _, need in ipairs(redis.call('SMEMBERS', queue.needs)) do
  if redis.call('EXISTS', key_of(queue, 'ready', need)) == 1 then
    made_claimable(queue, need, queued)
  end
end
flush()
return 1
