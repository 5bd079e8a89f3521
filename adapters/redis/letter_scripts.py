"""The scripts of dead letters, and of outcomes, which may leave one.

A dead letter is a hash without an expiry. Three sorted sets list them by the time of death: all, those of a queue, those of a job
type. Where the letters are on the same server as the lists (`listed` is 1), a script writes both. On a cluster a letter is on the
slot of its job, the lists are on another, and LIST writes them after; a hash `where` then says on whose slot a letter is.
"""

from __future__ import annotations

from adapters.redis.script import Script
from adapters.redis.scripts import RECORDS

_LISTS = """
-- A list that is not one any more is left alone: a letter can be had by its id all the same.
local function zadd(list, died_at, id)
  local answer = redis.pcall('ZADD', list, died_at, id)
  if type(answer) == 'table' and answer.err and not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
end
local function list(index, id, died_at, queue, job_type)
  zadd(index, died_at, id)
  zadd(index .. ':queue:' .. queue, died_at, id)
  if job_type ~= '' then zadd(index .. ':type:' .. job_type, died_at, id) end
end
"""

_LETTERS = (
    _LISTS
    + """
local letters = {}
local function read_letter(key)
  local found = redis.pcall('HMGET', key, 'died_at', 'replayed_at')
  if found.err then return found end
  letters[key] = found
end
-- A letter that is there stays, but for one that was replayed since.
local function bury(key, packed, index, listed)
  local dead, found = cmsgpack.unpack(packed), letters[key]
  local died_at = found[1]
  if not died_at or found[2] then
    died_at = dead.died_at
    redis.call('HSET', key, 'queue', dead.queue, 'reason', dead.reason, 'died_at', died_at, 'attempts', dead.attempts,
      'headers', dead.headers, 'body', dead.body, 'job_id', dead.job_id, 'job_type', dead.job_type, 'failure', dead.failure)
    if found[2] then redis.call('HDEL', key, 'replayed_at') end
    letters[key] = {died_at, false}
  end
  if listed == '1' then list(index, dead.id, died_at, dead.queue, dead.job_type) end
  return died_at
end
"""
)

# KEYS: the jobs, then the letters of those that have one. ARGV: ttl in s, the lists' name, listed, and packed for each outcome:
# queue, type, accepted_at, replay, attempt, token, state, ended, next_at, a retry's delay in ms, result, failure, and the dead
# letter, packed, or nothing. Answers: 0, 1, or the time of death of the letter that stands now.
SETTLE = Script(
    RECORDS
    + _LETTERS
    + """
local items, answers = cmsgpack.unpack(ARGV[4]), {}
local letter = #items
for n, key in ipairs(KEYS) do
  local fault
  if n <= #items then fault = read(key, items[n][1]) else fault = read_letter(key) end
  if fault then return fault end
end
for n, item in ipairs(items) do
  local key, done = KEYS[n], 0
  local queue, replay, attempt, token, state, dead = item[1], item[4], item[5], item[6], item[7], item[13]
  if dead ~= '' then letter = letter + 1 end
  local r = stored(key, queue)
  if accepts(r, replay, attempt, token, state) then
    if not r then begin(key, item[2], item[3]) end
    local due = item[10] > 0 and now + item[10] or 0
    local ended = {state = state, replay = replay, attempt = attempt, token = token, ends = 0, due = due}
    write(key, queue, ended, 'ended:' .. queue, item[8], 'next:' .. queue, item[9], 'result:' .. queue, item[11],
      'failure:' .. queue, item[12])
    keep(key, tonumber(ARGV[1]) + math.ceil(item[10] / 1000))
    done = 1
    if dead ~= '' then done = bury(KEYS[letter], dead, ARGV[2], ARGV[3]) end
  end
  answers[n] = done
end
return answers
"""
)

# KEYS: the letters. ARGV: the lists' name, listed, then the packed letters. Answers: when they died.
BURY = Script(
    _LETTERS
    + """
for _, key in ipairs(KEYS) do
  local fault = read_letter(key)
  if fault then return fault end
end
local answers = {}
for n, key in ipairs(KEYS) do answers[n] = bury(key, ARGV[2 + n], ARGV[1], ARGV[2]) end
return answers
"""
)

# KEYS: the letter, and its job where it has one. ARGV: at, queue, the new replay, ttl in s.
REPLAYED = Script(
    RECORDS
    + """
if KEYS[2] then
  local fault = read(KEYS[2], ARGV[2])
  if fault then return fault end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'replayed_at', ARGV[1])
local r = KEYS[2] and stored(KEYS[2], ARGV[2])
if r and r.state == 'dead' and r.replay < tonumber(ARGV[3]) then
  local queued = {state = 'queued', replay = tonumber(ARGV[3]), attempt = 0, token = '', ends = 0, due = 0}
  write(KEYS[2], ARGV[2], queued, 'failure:' .. ARGV[2], '')
  redis.call('HDEL', KEYS[2], 'ended:' .. ARGV[2])
  keep(KEYS[2], tonumber(ARGV[4]))
end
return 1
"""
)

# Of letters that were written already. KEYS: the list of all, and `where`. ARGV: for each its id, time of death, queue, type,
# place.
LIST = Script(
    _LISTS
    + """
for i = 1, #ARGV, 5 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 4])
  list(KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return 0
"""
)

# KEYS[1]: the letter. ARGV: the lists' name, listed, id. Answers: nothing, or the letter's queue and type.
DROP = Script("""
local found = redis.pcall('HMGET', KEYS[1], 'queue', 'job_type')
if found.err then found = {'', ''} end  -- no letter, but in the place of one
if redis.call('DEL', KEYS[1]) == 0 then return nil end
if ARGV[2] == '1' then
  for _, name in ipairs({'', ':queue:' .. (found[1] or ''), ':type:' .. (found[2] or '')}) do
    redis.pcall('ZREM', ARGV[1] .. name, ARGV[3])
  end
end
return {found[1] or '', found[2] or ''}
""")

# KEYS: the list of all, and `where`. ARGV: for each letter that is gone its id, queue and type.
UNLIST = Script("""
for i = 1, #ARGV, 3 do
  for _, name in ipairs({'', ':queue:' .. ARGV[i + 1], ':type:' .. ARGV[i + 2]}) do
    redis.pcall('ZREM', KEYS[1] .. name, ARGV[i])
  end
  redis.call('HDEL', KEYS[2], ARGV[i])
end
return 0
""")

# KEYS: `where`, the list, and a second one where only what is in both is wanted. ARGV: time of death and id of the entry behind
# which to begin, or two times nothing; how many are wanted; how many of the list are looked at.
# Answers: entries, each with id, time of death, place; and the last that was looked at, if more come.
PAGE = Script("""
local list, limit, most, from = KEYS[2], tonumber(ARGV[3]), tonumber(ARGV[4]), 0
if ARGV[2] ~= '' then
  -- Where the entry is, or would be: it may be gone since, or have died again.
  local stands = redis.call('ZSCORE', list, ARGV[2])
  redis.call('ZADD', list, ARGV[1], ARGV[2])
  from = redis.call('ZREVRANK', list, ARGV[2])
  if stands then redis.call('ZADD', list, stands, ARGV[2]) else redis.call('ZREM', list, ARGV[2]) end
  if stands and tonumber(stands) >= tonumber(ARGV[1]) then from = from + 1 end
end
local found = redis.call('ZREVRANGE', list, from, from + most, 'WITHSCORES')
local entries, last = {}, 0
while last < most and last * 2 < #found and #entries < limit do
  local id, died_at = found[last * 2 + 1], found[last * 2 + 2]
  last = last + 1
  if not KEYS[3] or redis.call('ZSCORE', KEYS[3], id) then
    entries[#entries + 1] = {id, died_at, redis.call('HGET', KEYS[1], id)}
  end
end
return {entries, last * 2 < #found and found[last * 2] .. '~' .. found[last * 2 - 1] or ''}
""")

# KEYS: `where`, and lists. ARGV: listed, then for each letter that was not there: id, time of death in the list, its key.
FORGET = Script("""
for i = 2, #ARGV, 3 do
  if ARGV[1] ~= '1' or redis.call('EXISTS', ARGV[i + 2]) == 0 then
    for n = 2, #KEYS do
      -- One that died again since has another time.
      if redis.call('ZSCORE', KEYS[n], ARGV[i]) == ARGV[i + 1] then redis.call('ZREM', KEYS[n], ARGV[i]) end
    end
  end
end
return 0
""")
