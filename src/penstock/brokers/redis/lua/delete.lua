-- delete: forget final jobs now.
--
-- transitions:
--     completed --prune--> (none)
--     dead --prune--> (none)
--     cancelled --prune--> (none)
--     expired --prune--> (none)
--     blocked --parent_failed--> cancelled
--
-- ARGV: ids. Answer: one word each.

local now = wall_ms()
local answers = {}
for place, id in ipairs(ARGV) do
  local job = load(id)
  if not job then
    answers[place] = 'not_found'
  elseif not job.done then -- Guard: only final jobs
    answers[place] = 'wrong_state'
  else
    forget(job, now)
    answers[place] = 'done'
  end
end
flush()
return answers
