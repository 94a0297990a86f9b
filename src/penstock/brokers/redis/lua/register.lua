-- register: give each queue its tag, which never changes and is never given twice.
--
-- transitions: none.
--
-- ARGV: names. Answer: tags.

local tags = {}
for place = 1, #ARGV do
  local name = ARGV[place]
  local tag = redis.call('HGET', root .. ':queues', name)
  if not tag then -- Guard: a known name keeps its tag
    tag = redis.call('HLEN', root .. ':queues') + 1
    while redis.call('HEXISTS', root .. ':tags', tag) == 1 do -- restored by an enqueue
      tag = tag + 1
    end
    if tag > 65535 then
      return redis.error_reply('PENSTOCK too many queues')
    end
    redis.call('HSET', root .. ':queues', name, tag)
    redis.call('HSET', root .. ':tags', tag, name)
  end
  tags[place] = tonumber(tag)
end
return tags
