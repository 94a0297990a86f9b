-- words: arguments, numbers and bytes. Part of every script of the sketch.

local at = 0

local function arg()
  at = at + 1
  return ARGV[at]
end

local function number()
  return tonumber(arg())
end

local function int(value)
  return string.format('%.0f', value)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A number under 2^48 as six bytes, so that the order of bytes is that of numbers.
local function bytes_of(value)
  local high, low = math.floor(value / 16777216), value % 16777216
  return string.char(
    math.floor(high / 65536), math.floor(high / 256) % 256, high % 256,
    math.floor(low / 65536), math.floor(low / 256) % 256, low % 256
  )
end

-- The number that the first bytes of an entry stand for; seven of them fit, since a priority is small.
local function number_of(text, bytes)
  local value = 0
  for place = 1, bytes do
    value = value * 256 + string.byte(text, place)
  end
  return value
end

local function key_of(queue, name)
  return KEYS[1] .. ':{' .. queue .. '}:' .. name
end
