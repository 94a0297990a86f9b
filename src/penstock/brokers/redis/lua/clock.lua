-- clock: the server's time, for leases and for due times alike; milliseconds since 1970.

local function wall_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local lease_ms = wall_ms
