-- note: keep progress, checkpoints and log lines of running attempts.
--
-- transitions: none.
--
-- ARGV: caps of lines and bytes, how many, then of each: id, fence, progress, checkpoint, lines
-- (how many, then each). Answer: 1 or 0 each.

local lines_max, bytes_max = number(), number()
local answers = {}

local function cap_log(queue, short, added)
  local key, note = key_of(queue, 'log', short), key_of(queue, 'note', short)
  local bytes = redis.call('HINCRBY', note, 'bytes', added)
  local lines = redis.call('LLEN', key)
  while lines > lines_max or bytes > bytes_max do -- Guard: log caps
    bytes = bytes - #redis.call('LPOP', key)
    lines = lines - 1
  end
  redis.call('HSET', note, 'bytes', bytes)
end

local function note(id, fence, progress, checkpoint, lines)
  local queue, short = queue_of(id), short_of(id)
  local held = queue and redis.call('HGET', queue.run, short)
  if not held or fence_of(held) ~= fence then -- Guard: fence
    return 0
  end
  local more = more_of(queue, short)
  if not more.note then
    more.note = true
    more.n = attempt_of(held).n
    keep_more(queue, short, more)
  end
  if progress ~= '' then
    redis.call('HSET', key_of(queue, 'note', short), 'progress', progress)
  end
  if checkpoint ~= '' then
    redis.call('HSET', key_of(queue, 'note', short), 'checkpoint', checkpoint)
  end
  local added = 0
  for _, line in ipairs(lines) do
    redis.call('RPUSH', key_of(queue, 'log', short), line)
    added = added + #line
  end
  if #lines > 0 then
    cap_log(queue, short, added)
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
