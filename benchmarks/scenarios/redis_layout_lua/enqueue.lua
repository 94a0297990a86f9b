-- ARGV: sections (how many), and of each: queue, need, how many jobs, then id and spec of each.

local RANK_BYTES = 7
local PRIORITY = string.char(5)

local function store(queue, need, ids, words, states)
  redis.call('HMGET', key_of(queue, 'spec'), unpack(ids)) -- which are there already
  redis.call('HSET', key_of(queue, 'spec'), unpack(words))
  IDS.add(key_of(queue, 'ids'), 0, ids)
  local rank, entries = PRIORITY .. bytes_of(now_ms()), {}
  for place, id in ipairs(ids) do
    entries[place] = rank .. id
  end
  READY.add(key_of(queue, 'ready:' .. need), RANK_BYTES, entries)
  redis.call('SADD', key_of(queue, 'needs'), need)
  if HAS.state then
    redis.call('HSET', key_of(queue, 'state'), unpack(states))
  end
  if HAS.counters then
    redis.call('HINCRBY', key_of(queue, 'count'), 'queued', #ids)
  end
  if HAS.tokens then
    redis.call('ZRANGE', key_of(queue, 'wait:' .. need), 0, 0)
  end
end

for _ = 1, number() do
  local queue, need, ids, words, states = arg(), arg(), {}, {}, {}
  for place = 1, number() do
    ids[place] = arg()
    words[2 * place - 1], words[2 * place] = ids[place], arg()
    states[2 * place - 1], states[2 * place] = ids[place], 'q'
  end
  store(queue, need, ids, words, states)
end
return 1
