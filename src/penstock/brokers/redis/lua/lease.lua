-- open_lease, extend, close_leases, restate.
--
-- transitions: none.

-- ARGV: id, ttl, token or '', names between newlines, owner as JSON, its worker and pid, capacity as
-- JSON or ''.
local function open_lease()
  local id, ttl, token, names, owner, worker, pid = arg(), number(), arg(), arg(), arg(), arg(), arg()
  local key = lease_key(id)
  if redis.call('EXISTS', key) == 1 then -- Guard: a known lease is left alone
    return 0
  end
  redis.call('HSET', key, 'expires', int(lease_ms() + ttl), 'closed', '0', 'queues', names,
    'owner', owner, 'worker', worker, 'pid', pid, 'token', token, 'running', 0)
  local capacity = arg()
  if capacity ~= '' then
    redis.call('HSET', key, 'capacity', capacity)
  end
  redis.call('SADD', root .. ':leases', id)
  return 1
end

-- ARGV: ttl, ids. Answer: the lost ones; and (id, fence, lease) of each cancel requested.
local function extend()
  local expires = int(lease_ms() + number())
  local lost, cancels = {}, {}
  while at < #ARGV do
    local id = arg()
    local key = lease_key(id)
    local closed = redis.call('HGET', key, 'closed')
    if closed == '0' then -- Guard: a closed lease stays closed
      redis.call('HSET', key, 'expires', expires)
      local found = redis.call('HGETALL', key .. ':cancels')
      for place = 1, #found, 2 do
        cancels[#cancels + 1] = found[place]
        cancels[#cancels + 1] = found[place + 1]
        cancels[#cancels + 1] = id
      end
    else
      lost[#lost + 1] = id
    end
  end
  return {lost, cancels}
end

-- ARGV: ids. Their jobs run on until `reclaim` takes them.
local function close_leases()
  for _, id in ipairs(ARGV) do
    local key = lease_key(id)
    if redis.call('EXISTS', key) == 1 then
      redis.call('HSET', key, 'closed', '1')
    end
  end
  return 0
end

-- ARGV: id, capacity as JSON.
local function restate()
  local key = lease_key(arg())
  if redis.call('EXISTS', key) == 1 then -- Guard: only known leases
    redis.call('HSET', key, 'capacity', arg())
  end
  return 0
end
