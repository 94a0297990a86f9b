-- groups: an index whose entries stand for groups of jobs, such as those of one tenant.
--
-- A group stands at the place of its first job and is named by the last two bytes of its jobs' ids. Its
-- jobs stand in an index of their own. A claim takes the same number from each of the first groups.

local GROUP_BYTES = 2

local function groups(outer, inner)
  local kind = {}

  function kind.add(key, prefix, entries)
    local names, members = {}, {}
    for _, entry in ipairs(entries) do
      local name = string.sub(entry, -GROUP_BYTES)
      if not members[name] then
        members[name] = {}
        names[#names + 1] = name
      end
      table.insert(members[name], entry)
    end
    local fresh = {}
    for _, name in ipairs(names) do
      local group = key .. ':' .. name
      if redis.call('EXISTS', group) == 0 then
        fresh[#fresh + 1] = string.sub(members[name][1], 1, prefix) .. name
      end
      inner.add(group, prefix, members[name])
    end
    if #fresh > 0 then
      outer.add(key, prefix, fresh)
    end
  end

  function kind.read(key, prefix, count)
    local first = outer.read(key, prefix, count)
    local walk = {key = key, ids = {}, ranks = {}, first = first, parts = {}, prefix = prefix}
    local share = math.ceil(count / math.max(#first.ids, 1))
    for place, name in ipairs(first.ids) do
      local part = inner.read(key .. ':' .. name, prefix, math.min(share, count - #walk.ids))
      walk.parts[place] = part
      for member, id in ipairs(part.ids) do
        walk.ids[#walk.ids + 1] = id
        walk.ranks[#walk.ranks + 1] = part.ranks[member]
      end
    end
    return walk
  end

  -- Groups that have more jobs enter again, at the place of what is their first job now.
  function kind.drop(walk, count)
    outer.drop(walk.first, #walk.parts)
    local again = {}
    for place, part in ipairs(walk.parts) do
      local taken = math.min(count, #part.ids)
      count = count - taken
      if taken > 0 then
        inner.drop(part, taken)
      end
      local head = inner.head(part.key)
      if head then
        again[#again + 1] = string.sub(head, 1, walk.prefix) .. walk.first.ids[place]
      end
    end
    if #again > 0 then
      outer.add(walk.key, walk.prefix, again)
    end
  end

  return kind
end
