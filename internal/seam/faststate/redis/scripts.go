package redis

// The scripts of presence. What they share:
//
//   - A gateway's lease has lives: one begins when there is none, and is named <gateway>~<nonce>. leases (sorted set) says
//     until when each life lasts, lives (hash) which is a gateway's present one. An entry belongs to a life, so that what
//     a gateway registered before its lease ended does not come back with the next one.
//   - A user's record (string) is its entries, joined by byte 30. An entry is life, device, connection, since in
//     microseconds, and what only Go reads; joined by byte 31.
//   - An index (set) per life names the users that have an entry of it.
//
// Names of indices, and in sweep and renew those of users, are made inside the scripts; they have the hash tag of KEYS[1].

// presenceLib is the beginning of each script that compares leases. KEYS[1] is always leases.
const presenceLib = `
local at = now()
local known = {}
local function live(life)
  local l = known[life]
  if l == nil then
    local till = redis.call('ZSCORE', KEYS[1], life)
    l = till and tonumber(till) > at or false
    known[life] = l
  end
  return l
end
local function entries(key) return string.gmatch(redis.call('GET', key) or '', '[^\30]+') end
local function lifeOf(entry) return string.match(entry, '^[^\31]*') end
local function gatewayOf(life) return string.match(life, '^(.*)~[^~]*$') end
-- store writes a record and puts the indices right. had is the set of lives that the record had.
local function store(key, user, index, keep, had, ttl)
  local has = {}
  for _, e in ipairs(keep) do has[lifeOf(e)] = true end
  for life in pairs(had) do
    if not has[life] then redis.call('SREM', index .. life, user) end
  end
  for life in pairs(has) do
    if not had[life] then
      redis.call('SADD', index .. life, user)
      redis.call('PEXPIRE', index .. life, ttl)
    end
  end
  if #keep == 0 then redis.call('DEL', key)
  else redis.call('SET', key, table.concat(keep, '\30'), 'PX', ttl) end
end
`

// putScript records connections. KEYS: leases, lives, then a record per connection. ARGV: index prefix, time to live,
// the skew in microseconds, then per connection user, gateway, device, connection, since, rest. It returns per
// connection the entries that its user had before.
var putScript = newScript(presenceLib, `
local index, ttl, skew = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function put(key, user, gateway, device, id, since, rest)
  local now = redis.call('HGET', KEYS[2], gateway)
  local life = now and lifeOf(now)
  local record = life and live(life)
  local keep, had, others = {}, {}, {}
  for e in entries(key) do
    local l, d, c, s = string.match(e, '^([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)')
    had[l] = true
    if live(l) and not (c == id and gatewayOf(l) == gateway) then
      others[#others + 1] = e
      if d ~= device then keep[#keep + 1] = e
      elseif tonumber(s) - tonumber(since) > skew then record = false; keep[#keep + 1] = e
      elseif not record then keep[#keep + 1] = e end
    end
  end
  if record then keep[#keep + 1] = table.concat({life, device, id, since, rest}, '\31') end
  store(key, user, index, keep, had, ttl)
  return others
end
local out = {}
for i = 3, #KEYS do
  local a = 4 + (i - 3) * 6
  out[i - 2] = put(KEYS[i], ARGV[a], ARGV[a+1], ARGV[a+2], ARGV[a+3], ARGV[a+4], ARGV[a+5])
end
return out
`)

// removeScript forgets connections. KEYS: leases, then a record and a last-seen key per connection. ARGV: index
// prefix, time to live, last-seen time, its time to live, then per connection user, gateway, connection. It returns per
// connection 1 if it was recorded and its user has no live one left.
var removeScript = newScript(presenceLib, `
local function remove(key, seen, user, gateway, id)
  local keep, had, found, stays = {}, {}, false, false
  for e in entries(key) do
    local l, c = string.match(e, '^([^\31]*)\31[^\31]*\31([^\31]*)')
    had[l] = true
    if not found and c == id and gatewayOf(l) == gateway then found = true
    else
      keep[#keep + 1] = e
      stays = stays or live(l)
    end
  end
  if not found then return 0 end
  store(key, user, ARGV[1], keep, had, ARGV[2])
  if stays then return 0 end
  redis.call('SET', seen, ARGV[3], 'PX', ARGV[4])
  return 1
end
local out = {}
for i = 2, #KEYS, 2 do
  local a = 5 + (i - 2) / 2 * 3
  out[#out + 1] = remove(KEYS[i], KEYS[i+1], ARGV[a], ARGV[a+1], ARGV[a+2])
end
return out
`)

// lookupScript reads users. KEYS: leases, then records. It returns the records and the lives in them that last.
var lookupScript = newScript(presenceLib, `
local find, sub = string.find, string.sub
local records = redis.call('MGET', unpack(KEYS, 2))
local lives, met = {}, {}
for i = 1, #records do
  local r, from = records[i], 1
  while r and from do
    local l = sub(r, from, find(r, '\31', from, true) - 1)
    if not met[l] then
      met[l] = true
      if live(l) then lives[#lives + 1] = l end
    end
    from = find(r, '\30', from, true)
    from = from and from + 1
  end
end
return {records, lives}
`)

// renewScript lets a lease live on, or begins one. KEYS: leases, lives, era. ARGV: gateway, how long in microseconds,
// nonce, index prefix, users prefix, time to live. It returns 1 if there was a lease and nothing can have been lost
// since the gateway was last told.
//
// It also puts off the end of a few of the gateway's users, chosen by chance: of n each time n*32*lease/ttl at least, so
// that in the time to live each is met 32 times or more on average and a connection that stays is never forgotten.
var renewScript = newScript(presenceLib, `
local gateway, lease, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local era = redis.call('HGET', KEYS[3], 'n') or '0'
local life, told = string.match(redis.call('HGET', KEYS[2], gateway) or '', '^(.*)\31(.*)$')
local same = life and live(life)
if not same then life = gateway .. '~' .. ARGV[3] end
redis.call('ZADD', KEYS[1], string.format('%.0f', at + lease), life)
redis.call('HSET', KEYS[2], gateway, life .. '\31' .. era)
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ttl) end
local index = ARGV[4] .. life
local n = redis.call('SCARD', index)
if n > 0 then
  redis.call('PEXPIRE', index, ttl)
  local some = math.ceil(n * 32 * lease / 1000 / ttl)
  for _, user in ipairs(redis.call('SRANDMEMBER', index, some)) do redis.call('PEXPIRE', ARGV[5] .. user, ttl) end
end
return same and told == era and 1 or 0
`)

// eraScript raises the era if another server answers than last time: it was started again or took over from another,
// and may lack the last writes. KEYS: era. ARGV: time to live.
var eraScript = newScript(`
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local last = redis.call('HGET', KEYS[1], 'run')
if run == last then return 0 end
redis.call('HSET', KEYS[1], 'run', run)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if not last then return 0 end
redis.call('HINCRBY', KEYS[1], 'n', 1)
return 1
`)

// sweepScript forgets one life that ended, or some users of it. KEYS: leases, lives. ARGV: how far from now is the
// time that counts, most users, prefixes of indices, users and last-seen keys, time to live, that of last-seen keys. It
// returns 1 if there may be more to do, and the gateway if it is gone.
var sweepScript = newScript(presenceLib, `
local till = string.format('(%.0f', at + ARGV[1])
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', till, 'WITHSCORES', 'LIMIT', 0, 1)
if #ended == 0 then return {0, ''} end
local life, score = ended[1], math.floor(tonumber(ended[2]) / 1000)
known[life] = false
local index = ARGV[3] .. life
for _, user in ipairs(redis.call('SRANDMEMBER', index, ARGV[2])) do
  local key, seen, keep, had, stays = ARGV[4] .. user, ARGV[5] .. user, {}, {}, false
  for e in entries(key) do
    local l = lifeOf(e)
    had[l] = true
    if l ~= life then
      keep[#keep + 1] = e
      stays = stays or live(l)
    end
  end
  if had[life] then
    store(key, user, ARGV[3], keep, had, ARGV[6])
    if not stays and tonumber(redis.call('GET', seen) or 0) < score then
      redis.call('SET', seen, string.format('%.0f', score), 'PX', ARGV[7])
    end
  end
  redis.call('SREM', index, user)
end
if redis.call('SCARD', index) > 0 then return {1, ''} end
redis.call('ZREM', KEYS[1], life)
local gateway = gatewayOf(life)
local now = redis.call('HGET', KEYS[2], gateway)
if not now or lifeOf(now) ~= life then return {1, ''} end
redis.call('HDEL', KEYS[2], gateway)
return {1, gateway}
`)
