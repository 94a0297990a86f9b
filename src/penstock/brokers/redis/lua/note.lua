-- note: keep progress, checkpoints and log lines of running attempts.
--
-- transitions: none.
--
-- ARGV: caps of lines and bytes, how many, then of each: id, fence, progress, checkpoint, lines
-- (how many, then each). Answer: 1 or 0 each.

local lines_max, bytes_max = number(), number()
local answers = {}

local function cap_log(queue, id, added)
  local key, note = queue.log .. id, queue.note .. id
  local bytes = redis.call('HINCRBY', note, 'bytes', added)
  local lines = redis.call('LLEN', key)
  while lines > lines_max or bytes > bytes_max do -- Guard: log caps
    bytes = bytes - #redis.call('LPOP', key)
    lines = lines - 1
  end
  redis.call('HSET', note, 'bytes', bytes)
end

local function note(id, fence, progress, checkpoint, lines)
  local queue = queue_of(id)
  local held = queue and redis.call('HGET', queue.run, id)
  if not held or fence_of(held) ~= fence then -- Guard: fence
    return 0
  end
  local more = more_of(queue, id)
  if not more.note then
    more.note = true
    more.n = attempt_of(string.sub(held, 33)).n
    keep_more(queue, id, more)
  end
  if progress ~= '' then
    redis.call('HSET', queue.note .. id, 'progress', progress)
  end
  if checkpoint ~= '' then
    redis.call('HSET', queue.note .. id, 'checkpoint', checkpoint)
  end
  local added = 0
  for _, line in ipairs(lines) do
    redis.call('RPUSH', queue.log .. id, line)
    added = added + #line
  end
  if #lines > 0 then
    cap_log(queue, id, added)
  end
  return 1
end

for place = 1, number() do
  local id, fence, progress, checkpoint, lines = arg(), arg(), arg(), arg(), {}
  for line = 1, number() do
    lines[line] = arg()
  end
  answers[place] = note(id, fence, progress, checkpoint, lines)
end
return answers
