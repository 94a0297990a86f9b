-- schema: what the keys say of themselves; noted where they are older than the caller.
--
-- transitions: none.
--
-- ARGV: the version that the caller reads and writes, and the version that a Penstock must know to
-- use the keys from then on. Answer: {version, needed version}, as it stands after the call.
--
-- Before version 2 the keys said nothing; 2 is this note itself, and 3 added keys and fields only. A later version that moves keys does
-- so here, above the note, in the same script: nobody sees a half of it.

local knows, wants = tonumber(ARGV[1]), tonumber(ARGV[2])
local said = redis.call('HMGET', root .. ':schema', 'version', 'needs')
local version, needs = tonumber(said[1] or 1), tonumber(said[2] or 1)
if needs <= knows and version < knows then -- What needs more is left alone
  version, needs = knows, math.max(needs, wants)
  redis.call('HSET', root .. ':schema', 'version', version, 'needs', needs)
end
return {version, needs}
