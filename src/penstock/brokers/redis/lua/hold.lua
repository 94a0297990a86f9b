-- hold: whether a lease lets its holder claim. Part of claim and reclaim.

-- What a claim must know of a lease; nil unless it is known, not closed, and has time left.
local function good_lease(id)
  local found = redis.call('HMGET', lease_key(id), 'expires', 'closed', 'queues', 'pid', 'worker')
  if not found[1] then
    return nil
  end
  if found[2] == '1' then -- Guard: lease is open
    return nil
  end
  local left = tonumber(found[1]) - lease_ms()
  if left <= 0 then -- Guard: lease has time left
    return nil
  end
  return {id = id, queues = found[3], pid = found[4], worker = found[5], left_ms = left}
end

local function is_for(lease, name)
  return string.find(lease.queues, '\n' .. name .. '\n', 1, true) ~= nil
end
