-- learn: add to the footprints of profiles.
--
-- transitions: none.
--
-- ARGV: of each profile, named once: name, how many fields, then field and amount of each.
-- cost: two commands per profile, whatever the number of its fields.
--
-- Sums are made here and written with 17 digits, which a double is read back from as it was.
-- HINCRBYFLOAT writes numbers out: nothing of 1e-20, and all the digits of 1e150.

local function learn(profile, fields, adds)
  local key = root .. ':footprint:' .. profile
  local known = redis.call('HMGET', key, unpack(fields))
  local written = {}
  for place, field in ipairs(fields) do
    local before = known[place] and tonumber(known[place]) or 0
    written[2 * place - 1] = field
    written[2 * place] = string.format('%.17g', before + adds[place])
  end
  redis.call('HSET', key, unpack(written))
end

while at < #ARGV do
  local profile, fields, adds = arg(), {}, {}
  for place = 1, number() do
    fields[place], adds[place] = arg(), number()
  end
  learn(profile, fields, adds)
end
return 0
