-- enqueue: store jobs.
--
-- transitions:
--     (none) --enqueue--> queued
--     (none) --enqueue--> scheduled
--     (none) --enqueue--> blocked
--     (none) --enqueue--> cancelled
--
-- ARGV: queues (how many, then tag and name of each). Then sections in order: how many, then of each
-- 'plain' and what plain_section reads, or 'special' and what special.lua reads. Answer of each section:
-- 1 where all of its jobs are queued; or a list with one text each, "STATE" of a new one, "known STATE
-- ID", "parent ID", "key ID" or "large".
-- cost: a plain section is a dozen commands, whatever its length.

local now = wall_ms()
-- Stands in special.lua, which is a part of the script where a job needs it.
local special_section

local function known(id)
  local queue, short = queue_of(id), short_of(id)
  return 'known ' .. state_of(queue, short, more_of(queue, short)) .. ' ' .. id
end

-- Each spec as it is stored, behind the id that it belongs to.
local function stored_specs(head, shorts, jsons)
  local specs, last, later = {}, nil, nil
  local rest = head == '.' and ';' or ';;'
  for place = 1, #shorts do
    local short = shorts[place]
    local made = string.sub(short, 1, 6)
    if made ~= last then
      last, later = made, head .. int(now - number_at(made, 1)) .. rest
    end
    specs[2 * place - 1] = short
    specs[2 * place] = later .. jsons[place]
  end
  return specs
end

-- Index jobs of one queue that are ready now and whose specs are stored: their ids rise.
local function index_plain(queue, kind, shorts)
  put(queue.ids, shorts)
  if kind.expires ~= '' then
    local late = {}
    for place, short in ipairs(shorts) do
      late[2 * place - 1] = now + tonumber(kind.expires)
      late[2 * place] = short
    end
    redis.call('ZADD', queue.deadline, unpack(late))
    mark(queue, 'has_deadlines')
  end
  local rank, entries = string.char(10 - kind.priority) .. bytes_of(now), {}
  for place = 1, #shorts do
    entries[place] = rank .. shorts[place]
  end
  make_ready(queue, kind.need, entries)
end

-- One job, whose spec is stored where there is none.
local function store_one(queue, kind, short, json)
  local specs = stored_specs(kind.head, {short}, {json})
  local is_new = redis.call('HSETNX', queue.spec, short, specs[2]) == 1 -- Guard: same id is the same job
  if not is_new then
    return {known(full_id(queue, short))}
  end
  index_plain(queue, kind, {short})
  return 1
end

-- Jobs of which some are there already.
local function store_others(queue, kind, shorts, jsons, stored)
  local answers, new, texts = {}, {}, {}
  for place, short in ipairs(shorts) do
    if stored[place] then -- Guard: same ids are the same jobs
      answers[place] = known(full_id(queue, short))
    else
      answers[place] = 'queued'
      new[#new + 1] = short
      texts[#texts + 1] = jsons[place]
    end
  end
  if #new > 0 then
    redis.call('HSET', queue.spec, unpack(stored_specs(kind.head, new, texts)))
    index_plain(queue, kind, new)
  end
  return answers
end

local function store_many(queue, kind, shorts, jsons)
  local stored = redis.call('HMGET', queue.spec, unpack(shorts))
  for place = 1, #shorts do
    if stored[place] then
      return store_others(queue, kind, shorts, jsons, stored)
    end
  end
  redis.call('HSET', queue.spec, unpack(stored_specs(kind.head, shorts, jsons)))
  index_plain(queue, kind, shorts)
  return 1
end

-- ARGV of a plain section: tag, head of the stored spec up to the instant, priority, need, expires_ms
-- or '', how many, then of each: id without its tag, spec as JSON.
local function plain_section()
  local queue = queue_tagged(arg())
  local kind = {head = arg(), priority = number(), need = arg(), expires = arg()}
  local count = number()
  if count == 1 then
    return store_one(queue, kind, arg(), arg())
  end
  local shorts, jsons = {}, {}
  for place = 1, count do
    shorts[place], jsons[place] = ARGV[at + 1], ARGV[at + 2]
    at = at + 2
  end
  return store_many(queue, kind, shorts, jsons)
end

-- A server that lost its data knows no tag, while clients go on to draw ids with those that it gave.
local function check_tags()
  for _ = 1, number() do
    local tag, name = arg(), arg()
    local known_as = queue_tagged(tag)
    if not known_as and redis.call('HEXISTS', root .. ':queues', name) == 0 then
      redis.call('HSET', root .. ':queues', name, number_of_tag(tag))
      redis.call('HSET', root .. ':tags', number_of_tag(tag), name)
      names[tag] = name
    elseif not known_as or known_as.name ~= name then
      return false
    end
  end
  return true
end

local function enqueue()
  if not check_tags() then
    return redis.error_reply('PENSTOCK_TAGS given anew')
  end
  local answers = {}
  for place = 1, number() do
    answers[place] = arg() == 'plain' and plain_section() or special_section()
  end
  flush()
  return answers
end
