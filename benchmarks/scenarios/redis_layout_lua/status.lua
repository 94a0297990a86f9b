-- ARGV: queue, then ids. Answer: a state each; by which key holds the job, or by the hash of states.

local queue = arg()
local ids = {unpack(ARGV, 2)}
if HAS.state then
  return redis.call('HMGET', key_of(queue, 'state'), unpack(ids))
end
local runs = redis.call('HMGET', key_of(queue, 'run'), unpack(ids))
local done = redis.call('HMGET', key_of(queue, 'done'), unpack(ids))
local blocked = redis.call('HMGET', key_of(queue, 'blocked'), unpack(ids))
local due = redis.call('ZMSCORE', key_of(queue, 'due'), unpack(ids))
local specs = redis.call('HMGET', key_of(queue, 'spec'), unpack(ids))
local states = {}
for place = 1, #ids do
  states[place] = runs[place] and 'r' or done[place] and string.sub(done[place], 1, 1)
    or blocked[place] and 'b' or due[place] and 's' or specs[place] and 'q' or ''
end
return states
