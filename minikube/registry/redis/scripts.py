"""The Lua scripts that run inside Redis: each is one atomic step. They use only commands of Redis 6 and Valkey.

All values come in as KEYS and ARGV; no script is built from text. A script checks first and writes afterwards. Its first write
is INCR (or HINCRBY, SET), which a Redis that is read-only, out of memory or out of disk refuses before anything changed.
"""

COMMIT = """
-- Puts or removes one registration, if it is still as the caller expects; gives out its revision.
-- KEYS registrations addresses revision changes epoch  hash  old-hash  leases
-- ARGV 1 epoch 2 known 3 deadline(us) 4 kind 5 id 6 expected 7 incarnation('0': new) 8 data 9 address 10 old-address
--      11 nonce 12 log-length 13.. fields of the hash
if redis.call('HGET', KEYS[5], 'id') ~= ARGV[1] then return {'diverged'} end
local top = tonumber(redis.call('GET', KEYS[3]) or '0')
if top < tonumber(ARGV[2]) then return {'diverged'} end
local clock = redis.call('TIME')
if tonumber(clock[1]) * 1000000 + tonumber(clock[2]) > tonumber(ARGV[3]) then return {'late'} end
local id, kind = ARGV[5], ARGV[4]
local current = redis.call('HGET', KEYS[1], id)
local was = '0'
if current then was = string.match(current, '^%d+') end
if was ~= ARGV[6] then return {'conflict', top} end
if kind == 'put' then
  local holder = redis.call('HGET', KEYS[2], ARGV[9])
  if holder and holder ~= id and redis.call('HEXISTS', KEYS[1], holder) == 1 then return {'conflict', top} end
else
  redis.call('HLEN', KEYS[2])  -- fails now, not after the first write, where a key is of another type
  redis.call('HLEN', KEYS[8])
end
redis.call('XLEN', KEYS[4])
local revision = string.format('%.0f', redis.call('INCR', KEYS[3]))
local incarnation = ARGV[7]
if incarnation == '0' then incarnation = revision end
if ARGV[10] ~= '' and (kind == 'gone' or ARGV[10] ~= ARGV[9]) then
  if redis.call('HGET', KEYS[2], ARGV[10]) == id then redis.call('HDEL', KEYS[2], ARGV[10]) end
end
redis.call('DEL', KEYS[7])
if kind == 'put' then
  redis.call('HSET', KEYS[1], id, revision .. ' ' .. incarnation .. ' ' .. ARGV[8])
  redis.call('HSET', KEYS[2], ARGV[9], id)
  if KEYS[6] ~= KEYS[7] then redis.call('DEL', KEYS[6]) end
  if #ARGV > 12 then redis.call('HSET', KEYS[6], 'revision', revision, unpack(ARGV, 13)) end
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[12], revision .. '-0',
    'kind', kind, 'id', id, 'incarnation', incarnation, 'data', ARGV[8], 'nonce', ARGV[11])
else
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[8], id)
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[12], revision .. '-0',
    'kind', kind, 'id', id, 'incarnation', incarnation, 'data', ARGV[8], 'nonce', ARGV[11], 'was', was)
end
return {'ok', revision, incarnation}
"""

HEARTBEAT = """
-- Counts this node's heartbeat and returns what the node compares with its catalog.
-- KEYS nodes epoch revision changes registrations leases ; ARGV 1 node 2 known revision 3 'leases' or ''
local own = redis.call('HGET', KEYS[1], ARGV[1])
if own and not (#own < 16 and string.match(own, '^%d+$')) then redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
local nonce = ''
local mark = redis.call('XRANGE', KEYS[4], ARGV[2] .. '-0', ARGV[2] .. '-0')
if mark[1] then
  for i = 1, #mark[1][2], 2 do if mark[1][2][i] == 'nonce' then nonce = mark[1][2][i + 1] end end
end
local clock = redis.call('TIME')
local leases = {}
if ARGV[3] ~= '' then leases = redis.call('HGETALL', KEYS[6]) end
return {clock[1], clock[2], redis.call('HGET', KEYS[2], 'id') or '', redis.call('GET', KEYS[3]) or '0', nonce,
  redis.call('HLEN', KEYS[5]), redis.call('HGETALL', KEYS[1]), leases}
"""

RENEW = """
-- Tells the other registries of a lease renewal. A renewal that comes after the removal leaves nothing behind.
-- KEYS registrations leases ; ARGV 1 id
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  local own = redis.call('HGET', KEYS[2], ARGV[1])
  if own and not (#own < 16 and string.match(own, '^%d+$')) then redis.call('HDEL', KEYS[2], ARGV[1]) end
  redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
end
return 0
"""

RESTORE = """
-- Puts back what Redis lost, as the first write of a new epoch. KEYS registrations addresses revision changes epoch leases
-- ARGV 1 expected epoch id 2 new number 3 new id 4 known revision 5 leap 6 count of tombstones, then tombstones (id revision hash),
--      then records (id revision incarnation data address hash count fields...)
local epoch = redis.call('HGET', KEYS[5], 'id') or ''
if not string.match(epoch, '^%w*$') then epoch = '' end  -- damaged: as none
if epoch ~= ARGV[1] then return {'raced'} end
local known = tonumber(ARGV[4])
local top = tonumber(redis.call('GET', KEYS[3]) or '0')
if known > top then top = known end
local last = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)
if last[1] then
  local id = tonumber(string.match(last[1][1], '^%d+'))
  if id > top then top = id end
end
if known > 0 then top = top + tonumber(ARGV[5]) end
local revision = string.format('%.0f', top)
redis.call('SET', KEYS[3], revision)
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  local current = redis.call('HGET', KEYS[1], ARGV[at])
  if current and tonumber(string.match(current, '^%d+')) <= tonumber(ARGV[at + 1]) then
    redis.call('HDEL', KEYS[1], ARGV[at])
    redis.call('HDEL', KEYS[6], ARGV[at])
    redis.call('DEL', ARGV[at + 2])
  end
  at = at + 3
end
while at <= #ARGV do
  local id, count = ARGV[at], tonumber(ARGV[at + 6])
  local current = redis.call('HGET', KEYS[1], id)
  if not current or tonumber(string.match(current, '^%d+')) <= tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[1], id, ARGV[at + 1] .. ' ' .. ARGV[at + 2] .. ' ' .. ARGV[at + 3])
    redis.call('HSET', KEYS[2], ARGV[at + 4], id)
    redis.call('DEL', ARGV[at + 5])
    if count > 0 then
      redis.call('HSET', ARGV[at + 5], 'revision', ARGV[at + 1], unpack(ARGV, at + 7, at + 6 + count))
    end
  end
  at = at + 7 + count
end
redis.call('HSET', KEYS[5], 'id', ARGV[3], 'n', ARGV[2], 'floor', ARGV[4])
if top > 0 and known > 0 then
  redis.call('XADD', KEYS[4], revision .. '-0', 'kind', 'epoch', 'nonce', ARGV[3])
end
return {'ok', revision}
"""

SNAPSHOT = """
-- Returns everything that is stored, at one moment. It only reads: a Redis that refuses writes runs it.
-- KEYS epoch revision registrations changes ; ARGV 1 most entries of the change log
return {redis.call('HMGET', KEYS[1], 'n', 'id', 'floor'), redis.call('GET', KEYS[2]), redis.call('HVALS', KEYS[3]),
  redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', ARGV[1])}
"""

AUDIT = """
-- Returns the positions of the records of which something is lost or damaged. It only reads.
-- KEYS registrations addresses epoch ; ARGV 1 epoch, then records (id revision address hash expected)
if redis.call('HGET', KEYS[3], 'id') ~= ARGV[1] then return {} end
local found = {}
for at = 2, #ARGV, 5 do
  local current = redis.call('HGET', KEYS[1], ARGV[at])
  local right = current and string.match(current, '^(%d+) ') == ARGV[at + 1]
    and redis.call('HGET', KEYS[2], ARGV[at + 2]) == ARGV[at]
  if right and ARGV[at + 4] ~= '' then
    right = redis.call('TYPE', ARGV[at + 3]).ok == 'hash'
    if right then
      local values = redis.call('HMGET', ARGV[at + 3], 'revision', 'name', 'addr', 'health', 'uuid')
      for i = 1, #values do values[i] = values[i] or '' end
      right = table.concat(values, '\\n') == ARGV[at + 4]
    end
  end
  if not right then found[#found + 1] = (at - 2) / 5 end
end
return found
"""

REPAIR = """
-- Writes again what Redis lost of one record. It leaves a record that another registry has changed since.
-- KEYS registrations addresses epoch revision hash
-- ARGV 1 epoch 2 known revision 3 id 4 revision 5 incarnation 6 data 7 address 8.. fields of the hash
if redis.call('HGET', KEYS[3], 'id') ~= ARGV[1] then return 0 end
local current = redis.call('HGET', KEYS[1], ARGV[3])
if not current or string.match(current, '^(%d+) ') ~= ARGV[4] then
  -- A change that the catalog does not have yet explains it, too.
  if redis.call('GET', KEYS[4]) ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])
end
redis.call('HSET', KEYS[2], ARGV[7], ARGV[3])
redis.call('DEL', KEYS[5])
if #ARGV > 7 then redis.call('HSET', KEYS[5], 'revision', ARGV[4], unpack(ARGV, 8)) end
return 1
"""
