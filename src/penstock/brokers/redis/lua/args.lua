-- args: arguments, numbers and bytes. Part of every script.
--
-- KEYS[1] is the root of all keys; those of a queue follow from the tag in a job's id. Numbers are
-- turned into text by `int` alone: `..` writes large ones as 1.75e+14. Bytes are compared by Redis
-- or by `is_before`, never by `<`, which asks the server's locale.

local root = KEYS[1]
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

-- A number under 2^48 as six bytes, so that the order of bytes is that of numbers.
local function bytes_of(value)
  local high, low = math.floor(value / 16777216), value % 16777216
  return string.char(
    math.floor(high / 65536), math.floor(high / 256) % 256, high % 256,
    math.floor(low / 65536), math.floor(low / 256) % 256, low % 256
  )
end

-- The number that six bytes from `from` on stand for.
local function number_at(text, from)
  local a, b, c, d, e, f = string.byte(text, from, from + 5)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end

local function is_before(one, other)
  for place = 1, math.min(#one, #other) do
    local a, b = string.byte(one, place), string.byte(other, place)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end
