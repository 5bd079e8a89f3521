"""The scripts of claims and outcomes. Each works off a batch, atomically: it reads all, and writes only if all could be read.

A job is a hash: `type`, `at`, and for each queue a line `c:<queue>` that the scripts read,

    state|replay|attempt|token|lease end in ms|due of a retry in ms; of a run the lease's length in ms

`crash:` of the queue has the token of the claim that was last answered with CRASHED, and what only people read is in `started:`,
`ended:`, `next:`, `result:`, `failure:` and `progress:`.
Version 0.1.0 wrote the same, with 0 for a lease's length, and reads what is written here: both run beside each other in an upgrade.

The server's clock decides leases: a pod whose clock is ahead must not take a claim that is alive. That clock may step, and a
replica that takes over has another: a lease never has more left than its length, so that a step back freezes no claim.

`judge` and `accepts` are those of `core/claims.py`; `tests/properties/test_redis_claims.py` holds one against the other.
"""

from __future__ import annotations

from adapters.redis.script import Script

_RECORDS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = {unconfirmed = 1, queued = 1, running = 1, retrying = 1, succeeded = 1, dead = 1, cancelled = 1}
local final = {succeeded = true, dead = true, cancelled = true}
local not_begun = {unconfirmed = true, queued = true}
local records = {}
-- Read a delivery once into `records`: a batch may name it twice. Returns an error reply where that cannot be done.
local function read(key, queue)
  local line = redis.pcall('HGET', key, 'c:' .. queue)
  if not line then return nil end
  if type(line) == 'table' then return line end
  local state, replay, attempt, token, ends, due = string.match(line, '^(%a+)|(%d+)|(%d+)|([^|]*)|(%d+)|(%d+)$')
  if not known[state] then return redis.error_reply('BADRECORD the line c:' .. queue .. ' of ' .. key .. ' cannot be read') end
  if not records[key] then records[key] = {} end
  records[key][queue] = {state = state, replay = tonumber(replay), attempt = tonumber(attempt), token = token,
    ends = tonumber(ends), due = tonumber(due)}
end
local function stored(key, queue) return records[key] and records[key][queue] end
-- Lua writes a whole number below 10^14 as its digits: until the year 5138 in ms. more: further fields of the hash, and values.
local function write(key, queue, r, ...)
  if not records[key] then records[key] = {} end
  records[key][queue] = r
  redis.call('HSET', key, 'c:' .. queue, r.state .. '|' .. r.replay .. '|' .. r.attempt .. '|' .. r.token .. '|' .. r.ends .. '|'
    .. r.due, ...)
end
-- Another queue's retry may be due later than a retention from now.
local function keep(key, seconds)
  if redis.call('TTL', key) < seconds then redis.call('EXPIRE', key, seconds) end
end
local function begin(key, job_type, at)
  redis.call('HSETNX', key, 'type', job_type)
  redis.call('HSETNX', key, 'at', at)
end
local function accepts(r, replay, attempt, token, state)
  if not r then return true end
  if r.replay > replay or (r.replay == replay and r.attempt > attempt) then return false end
  local same = r.replay == replay and r.attempt == attempt
  if final[r.state] and r.replay == replay then return same and r.token == token and r.state == state end
  if not same then return true end
  if r.token ~= token then return not_begun[r.state] == true end
  if state == 'running' then return r.state == 'running' end
  return r.state == state or r.state == 'running' or not_begun[r.state] == true
end
"""

# ARGV: ttl in s, the new state, the state that it may follow, and packed for each job: type, accepted_at, queues.
QUEUED = Script(
    _RECORDS
    + """
local ttl, into, over, items = tonumber(ARGV[1]), ARGV[2], ARGV[3], cmsgpack.unpack(ARGV[4])
for n, key in ipairs(KEYS) do
  for _, queue in ipairs(items[n][3]) do
    local fault = read(key, queue)
    if fault then return fault end
  end
end
for n, key in ipairs(KEYS) do
  if not records[key] then begin(key, items[n][1], items[n][2]) end
  for _, queue in ipairs(items[n][3]) do
    local r = stored(key, queue)
    if not r then
      write(key, queue, {state = into, replay = 0, attempt = 0, token = '', ends = 0, due = 0})
    elseif r.state == over then
      r.state = into
      write(key, queue, r)
    end
  end
  keep(key, ttl)
end
return 0
"""
)

# ARGV: ttl in s, and packed for each claim: queue, type, accepted_at, replay, attempt, token, lease in ms. Answers: a verdict, or a
# verdict with ms.
CLAIM = Script(
    _RECORDS
    + """
-- What is left of a run's lease. One that has more left than its length was given by another clock: it begins anew. Of a run of
-- version 0.1.0 the length is not known: it is the asker's.
local function left(key, queue, r, lease)
  local length = r.due > 0 and r.due or lease
  if r.ends - now > length then
    r.ends = now + length
    write(key, queue, r)
  end
  return r.ends - now
end
local function judge(key, queue, r, replay, attempt, token, lease)
  if not r then return 'granted', 0 end
  if r.replay > replay then return 'stale', 0 end
  local alive = 0
  if r.state == 'running' and (r.replay < replay or r.token ~= token) then alive = left(key, queue, r, lease) end
  if r.replay < replay then
    if alive > 0 then return 'held', alive end
    return 'granted', 0
  end
  if final[r.state] then return 'settled', 0 end
  if r.state == 'running' then
    -- The answer to the same claim was lost on its way.
    if r.token == token then return redis.call('HGET', key, 'crash:' .. queue) == token and 'crashed' or 'granted', 0 end
    if alive > 0 then return 'held', alive end
    if r.attempt == attempt then return 'crashed', 0 end
  elseif r.state == 'retrying' and r.attempt == attempt then
    return 'waiting', math.max(0, r.due - now)
  end
  if r.attempt > attempt then return 'stale', 0 end
  return 'granted', 0
end
local items, answers = cmsgpack.unpack(ARGV[2]), {}
for n, key in ipairs(KEYS) do
  local fault = read(key, items[n][1])
  if fault then return fault end
end
for n, key in ipairs(KEYS) do
  local item = items[n]
  local queue, replay, attempt, token, lease = item[1], item[4], item[5], item[6], item[7]
  local r = stored(key, queue)
  local verdict, ms = judge(key, queue, r, replay, attempt, token, lease)
  if verdict == 'granted' or verdict == 'crashed' then
    if not r then begin(key, item[2], item[3]) end
    local run = {state = 'running', replay = replay, attempt = attempt, token = token, ends = now + lease, due = lease}
    write(key, queue, run, 'started:' .. queue, now)
    if r and (r.attempt > 0 or r.replay > 0) then
      redis.call('HDEL', key, 'ended:' .. queue, 'next:' .. queue, 'crash:' .. queue)
    end
    if verdict == 'crashed' then redis.call('HSET', key, 'crash:' .. queue, token) end
    keep(key, tonumber(ARGV[1]))
  end
  answers[n] = ms > 0 and {verdict, ms} or verdict
end
return answers
"""
)

# ARGV as those of CLAIM. Answers: 1 or 0.
RENEW = Script(
    _RECORDS
    + """
local items, answers = cmsgpack.unpack(ARGV[2]), {}
for n, key in ipairs(KEYS) do
  local fault = read(key, items[n][1])
  if fault then return fault end
end
for n, key in ipairs(KEYS) do
  local item = items[n]
  local queue, replay, attempt, token, lease = item[1], item[4], item[5], item[6], item[7]
  local r = stored(key, queue)
  answers[n] = 0
  if accepts(r, replay, attempt, token, 'running') then
    local ours = r and r.replay == replay and r.attempt == attempt and r.token == token
    if not r then begin(key, item[2], item[3]) end
    write(key, queue, {state = 'running', replay = replay, attempt = attempt, token = token, ends = now + lease, due = lease})
    if not ours then  -- it was forgotten: when it began is not known any more
      redis.call('HSET', key, 'started:' .. queue, now)
      redis.call('HDEL', key, 'ended:' .. queue, 'next:' .. queue)
    end
    keep(key, tonumber(ARGV[1]))
    answers[n] = 1
  end
end
return answers
"""
)

# KEYS[1]: the job. ARGV: queue, replay, attempt, token, progress.
PROGRESS = Script(
    _RECORDS
    + """
local fault = read(KEYS[1], ARGV[1])
if fault then return fault end
local r = stored(KEYS[1], ARGV[1])
local ours = r and r.token == ARGV[4] and r.replay == tonumber(ARGV[2]) and r.attempt == tonumber(ARGV[3])
if not ours or r.state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'progress:' .. ARGV[1], ARGV[5])
return 1
"""
)

# A small write, as a script: a server that refuses either is unavailable. KEYS[1]: a key of its own.
PING = Script("return redis.call('SET', KEYS[1], 1, 'EX', 60)")

RECORDS = _RECORDS
