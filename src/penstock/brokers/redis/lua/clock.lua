-- clock: the server's time, for leases and for due times alike; milliseconds since 1970. It stands
-- still while a script runs.

local time_ms

local function wall_ms()
  if not time_ms then
    local time = redis.call('TIME')
    time_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return time_ms
end

local lease_ms = wall_ms
