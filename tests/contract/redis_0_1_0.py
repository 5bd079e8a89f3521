"""The scripts of version 0.1.0, as they were: in an upgrade its pods run beside those of this version, on the same keys."""

_COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function split(line)
  local state, replay, attempt, token, lease, due = string.match(line, '^(%a+)|(%d+)|(%d+)|([^|]*)|(%d+)|(%d+)$')
  return state, tonumber(replay), tonumber(attempt), token, tonumber(lease), tonumber(due)
end
local function join(state, replay, attempt, token, lease, due)
  return state .. '|' .. string.format('%d', replay) .. '|' .. string.format('%d', attempt) .. '|' .. token .. '|'
    .. string.format('%d', lease) .. '|' .. string.format('%d', due)
end
local final = {succeeded = true, dead = true, cancelled = true}
local function bury(dead)
  local key = 'headrace:dead:' .. dead.id
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'queue', dead.queue, 'reason', dead.reason, 'died_at', dead.died_at, 'attempts', dead.attempts,
    'headers', dead.headers, 'body', dead.body, 'job_id', dead.job_id, 'job_type', dead.job_type, 'failure', dead.failure)
  redis.call('ZADD', 'headrace:dead', dead.died_at, dead.id)
  redis.call('ZADD', 'headrace:dead:queue:' .. dead.queue, dead.died_at, dead.id)
  if dead.job_type ~= '' then redis.call('ZADD', 'headrace:dead:type:' .. dead.job_type, dead.died_at, dead.id) end
end
"""

# ARGV: ttl in s, the new state, the state that it may follow, then for each job: type, accepted_at, number of queues, queues.
QUEUED = (
    _COMMON
    + """
local ttl, into, over, i = ARGV[1], ARGV[2], ARGV[3], 4
for _, key in ipairs(KEYS) do
  local n = tonumber(ARGV[i + 2])
  redis.call('HSETNX', key, 'type', ARGV[i])
  redis.call('HSETNX', key, 'at', ARGV[i + 1])
  for q = i + 3, i + 2 + n do
    local line = redis.call('HGET', key, 'c:' .. ARGV[q])
    if not line then
      redis.call('HSET', key, 'c:' .. ARGV[q], join(into, 0, 0, '', 0, 0))
    else
      local state, replay, attempt, token, lease, due = split(line)
      if state == over then redis.call('HSET', key, 'c:' .. ARGV[q], join(into, replay, attempt, token, lease, due)) end
    end
  end
  redis.call('EXPIRE', key, ttl)
  i = i + 3 + n
end
return 0
"""
)

# ARGV: ttl in s, then for each claim: queue, type, accepted_at, replay, attempt, token, lease in ms. Answers: verdict, ms.
CLAIM = (
    _COMMON
    + """
local answers = {}
local function judge(line, replay, attempt, token)
  if not line then return 'granted', 0 end
  local state, r, a, holder, lease, due = split(line)
  if r < replay or state == 'queued' or state == 'unconfirmed' then return 'granted', 0 end
  if r > replay then return 'stale', 0 end
  if final[state] then return 'settled', 0 end
  if state == 'retrying' then
    if a > attempt then return 'stale', 0 end
    if a == attempt then return 'waiting', math.max(0, due - now) end
    return 'granted', 0
  end
  if holder == token then return 'granted', 0 end
  if lease > now then return 'held', lease - now end
  if a > attempt then return 'stale', 0 end
  return 'granted', 0
end
for n, key in ipairs(KEYS) do
  local i = 2 + (n - 1) * 7
  local queue, replay, attempt, token = ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5]
  local verdict, ms = judge(redis.call('HGET', key, 'c:' .. queue), replay, attempt, token)
  if verdict == 'granted' then
    redis.call('HSETNX', key, 'type', ARGV[i + 1])
    redis.call('HSETNX', key, 'at', ARGV[i + 2])
    redis.call('HSET', key, 'c:' .. queue, join('running', replay, attempt, token, now + ARGV[i + 6], 0), 'started:' .. queue, now)
    redis.call('HDEL', key, 'ended:' .. queue, 'next:' .. queue)
    redis.call('EXPIRE', key, ARGV[1])
  end
  answers[n] = {verdict, ms}
end
return answers
"""
)

# ARGV for each claim: queue, token, lease in ms. Answers: 1 or 0.
RENEW = (
    _COMMON
    + """
local answers = {}
for n, key in ipairs(KEYS) do
  local i = (n - 1) * 3
  local line, kept = redis.call('HGET', key, 'c:' .. ARGV[i + 1]), 0
  if line then
    local state, replay, attempt, token, lease, due = split(line)
    if token == ARGV[i + 2] and state == 'running' then
      redis.call('HSET', key, 'c:' .. ARGV[i + 1], join(state, replay, attempt, token, now + ARGV[i + 3], due))
      kept = 1
    end
  end
  answers[n] = kept
end
return answers
"""
)

# ARGV: ttl in s, then for each outcome: queue, token, state, ended, next_at, result, failure, packed dead letter or nothing.
# The answers are 1 or 0.
SETTLE = (
    _COMMON
    + """
local answers = {}
for n, key in ipairs(KEYS) do
  local i = 2 + (n - 1) * 8
  local queue, into, done = ARGV[i], ARGV[i + 2], 0
  local line = redis.call('HGET', key, 'c:' .. queue)
  if line then
    local state, replay, attempt, token = split(line)
    if token == ARGV[i + 1] and (state == 'running' or state == into) then
      local due = ARGV[i + 4] == '' and 0 or math.floor(tonumber(ARGV[i + 4]) * 1000)
      redis.call('HSET', key, 'c:' .. queue, join(into, replay, attempt, token, 0, due), 'ended:' .. queue, ARGV[i + 3],
        'next:' .. queue, ARGV[i + 4], 'result:' .. queue, ARGV[i + 5], 'failure:' .. queue, ARGV[i + 6])
      redis.call('EXPIRE', key, ARGV[1])
      if ARGV[i + 7] ~= '' then bury(cmsgpack.unpack(ARGV[i + 7])) end
      done = 1
    end
  end
  answers[n] = done
end
return answers
"""
)

# KEYS[1]: the job. ARGV: queue, token, progress.
PROGRESS = (
    _COMMON
    + """
local line = redis.call('HGET', KEYS[1], 'c:' .. ARGV[1])
if not line then return 0 end
local _, _, _, token = split(line)
if token ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'progress:' .. ARGV[1], ARGV[3])
return 1
"""
)

# ARGV: ttl in s, then the packed dead letters.
BURY = (
    _COMMON
    + """
for n = 2, #ARGV do
  local dead = cmsgpack.unpack(ARGV[n])
  bury(dead)
  if dead.job_id ~= '' and dead.job_type ~= '' then
    local key, field = 'headrace:job:' .. dead.job_id, 'c:' .. dead.queue
    redis.call('HSETNX', key, 'type', dead.job_type)
    redis.call('HSETNX', key, 'at', dead.died_at)
    local line = redis.call('HGET', key, field)
    local state, replay, attempt, token, lease = 'queued', 0, dead.attempts, '', 0
    if line then state, replay, attempt, token, lease = split(line) end
    if not final[state] and not (state == 'running' and lease > now) then
      redis.call('HSET', key, field, join('dead', replay, attempt, token, 0, 0), 'ended:' .. dead.queue, dead.died_at,
        'failure:' .. dead.queue, dead.failure)
    end
    redis.call('EXPIRE', key, ARGV[1])
  end
end
return 0
"""
)

# ARGV: dead id, at, replay of the dead message, ttl in s.
REPLAYED = (
    _COMMON
    + """
local key = 'headrace:dead:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'replayed_at', ARGV[2])
local job, queue = redis.call('HGET', key, 'job_id'), redis.call('HGET', key, 'queue')
local line = redis.call('HGET', 'headrace:job:' .. job, 'c:' .. queue)
if line then
  local state, replay = split(line)
  if state == 'dead' and replay == tonumber(ARGV[3]) then
    redis.call('HSET', 'headrace:job:' .. job, 'c:' .. queue, join('queued', replay + 1, 0, '', 0, 0), 'failure:' .. queue, '')
    redis.call('HDEL', 'headrace:job:' .. job, 'ended:' .. queue)
    redis.call('EXPIRE', 'headrace:job:' .. job, ARGV[4])
  end
end
return 1
"""
)

# ARGV: dead id.
DROP = """
local key = 'headrace:dead:' .. ARGV[1]
local queue, kind = redis.call('HGET', key, 'queue'), redis.call('HGET', key, 'job_type')
if not queue then return 0 end
redis.call('ZREM', 'headrace:dead', ARGV[1])
redis.call('ZREM', 'headrace:dead:queue:' .. queue, ARGV[1])
redis.call('ZREM', 'headrace:dead:type:' .. kind, ARGV[1])
return redis.call('DEL', key)
"""
