"""The Redis operations of the shop: each request is one Lua script, so all replicas together never sell more than the stock.

Keys, all in one slot of a cluster: `{shop}:product:ID` (a hash: name, quantity), `{shop}:products` (ids), `{shop}:reply:KEY`
(written with the change, for ten minutes), `{shop}:order` (a hash: id to JSON), `{shop}:orders` (ids, newest first).
"""

STOCK = """
-- ARGV: list | get, id | take, id, digest of the request | put, id, digest, name, quantity ("" for either: as it is).
-- KEYS: where the reply to a change is remembered, if it is. Returns a status with a product or an error; list: many.
local id, digest, memory = ARGV[2], ARGV[3], KEYS[1]
local function key(id) return '{shop}:product:' .. id end
local function read(id)
  local row = redis.call('HMGET', key(id), 'name', 'quantity')
  return row[2] and {200, id, row[1], row[2]} or {404, 'there is no product ' .. id}
end
local function write(id, name, quantity)
  redis.call('HSET', key(id), 'name', name, 'quantity', quantity)
  redis.call('SADD', '{shop}:products', id)
end
-- Products are never deleted: where one of the first is absent, Redis was emptied.
for _, first in ipairs({{'aaa', 'apple', 10}, {'bbb', 'banana', 7}}) do
  if redis.call('EXISTS', key(first[1])) == 0 then write(unpack(first)) end
end
if ARGV[1] == 'get' then return read(id) end
if ARGV[1] == 'list' then
  local ids, found = redis.call('SMEMBERS', '{shop}:products'), {}
  table.sort(ids)
  for _, id in ipairs(ids) do if redis.call('EXISTS', key(id)) == 1 then found[#found + 1] = read(id) end end
  return found
end
local seen = memory and redis.call('HMGET', memory, 'asked', 'status', 'name', 'quantity') or {}
if seen[1] == digest then return {tonumber(seen[2]), id, seen[3], seen[4]} end
if seen[1] then return {422, 'this Idempotency-Key was used for another request'} end
local status, _, name, quantity = unpack(read(id))
if ARGV[1] == 'take' then
  if status == 404 then return read(id) end
  quantity = tonumber(quantity) - 1
  if quantity < 0 then return {409, id .. ' is out of stock'} end
else
  if status == 404 then status, name, quantity = 201, ARGV[4] ~= '', ARGV[5] ~= '' end
  if not (name and quantity) then return {400, 'there is no ' .. id .. ' yet: creating one takes name and quantity'} end
  name, quantity = ARGV[4] ~= '' and ARGV[4] or name, ARGV[5] ~= '' and ARGV[5] or quantity
  if status == 201 and redis.call('SCARD', '{shop}:products') >= 10000 then return {507, 'there are too many products'} end
end
write(id, name, quantity)
if memory then
  redis.call('HSET', memory, 'asked', digest, 'status', status, 'name', name, 'quantity', quantity)
  redis.call('EXPIRE', memory, 600)
end
return {status, id, name, quantity}
"""

ORDERS = """
-- ARGV: find, id | record, id, JSON (written once for an id) | latest.
if ARGV[1] == 'find' then return redis.call('HGET', '{shop}:order', ARGV[2]) end
if ARGV[1] == 'record' then
  if redis.call('HSETNX', '{shop}:order', ARGV[2], ARGV[3]) == 1 then redis.call('LPUSH', '{shop}:orders', ARGV[2]) end
  while redis.call('LLEN', '{shop}:orders') > 1000 do redis.call('HDEL', '{shop}:order', redis.call('RPOP', '{shop}:orders')) end
  return
end
local ids = redis.call('LRANGE', '{shop}:orders', 0, 99)
return #ids > 0 and redis.call('HMGET', '{shop}:order', unpack(ids)) or ids
"""
