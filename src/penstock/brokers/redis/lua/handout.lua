-- handout: jobs as a worker gets them. Part of claim and reclaim.

-- What a claim or a reclaim hands out: queues (name and tag of each); the instant of the claim; jobs
-- (id without tag and spec of each); of each job the place of its queue, where there are several; of
-- jobs that are not as usual: place, claim number, instant, charges, checkpoint.
local function new_handout(now)
  return {queues = {}, count = 0, jobs = {}, of = {}, unusual = {}, claimed = now}
end

-- Name a queue; return its place.
local function hand_queue(out, queue)
  local queues = out.queues
  queues[#queues + 1] = queue.name
  queues[#queues + 1] = tag_of(queue)
  return #queues / 2 - 1
end

-- What is not usual of a job: it was claimed before, it was charged, it has a checkpoint.
local function hand_unusual(out, queue, short, place, attempt, more)
  local unusual, count = out.unusual, #out.unusual
  unusual[count + 1] = place
  unusual[count + 2] = attempt.n
  unusual[count + 3] = attempt.claimed
  unusual[count + 4] = more.charges or ''
  unusual[count + 5] = more.note and redis.call('HGET', key_of(queue, 'note', short), 'checkpoint') or ''
end

-- A job that was claimed by an earlier call.
local function hand_taken(out, job)
  local queue = job.queue
  local place = out[queue]
  if not place then
    place = hand_queue(out, queue)
    out[queue] = place
  end
  local at_job = out.count
  out.count = at_job + 1
  out.of[at_job + 1] = place
  out.jobs[2 * at_job + 1] = job.short
  out.jobs[2 * at_job + 2] = job.stored or ''
  hand_unusual(out, queue, job.short, at_job, attempt_of(job.run), job.more)
end

local function handed_out(out)
  return {out.queues, out.claimed, out.jobs, #out.queues > 2 and out.of or {}, out.unusual}
end

local NOTHING = {{}, 0, {}, {}, {}}
