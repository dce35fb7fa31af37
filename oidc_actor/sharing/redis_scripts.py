"""The steps of `oidc_actor.sharing.records` in Lua, each one script that Redis or Valkey runs atomically; and a look at records.

A record is one hash. Its fields have the names of `Record`'s and `Lease`'s; those that are empty are absent, and numbers are
whole. Every step first reads the server's clock, does nothing where that is past ``late``, and else reads the whole record,
changes it, and writes the whole. What is no record, under the name of one, counts as absent, and is written over. Redis' own
expiry only clears away what is of no use any more.
"""

from __future__ import annotations

from typing import NamedTuple

from oidc_actor.sharing.records import AGAIN_MS, KEPT_MS, LOGIN_KEPT_MS

_READ = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function read(key)
  local found = redis.pcall('HGETALL', key)
  if found.err then
    return {}, not string.find(found.err, 'WRONGTYPE', 1, true) and found or nil
  end
  local record = {}
  for i = 1, #found, 2 do
    record[found[i]] = found[i + 1]
  end
  for _, field in ipairs({'gen', 'fence', 'expires_ms', 'until_ms', 'length_ms', 'quarantine_ms', 'keep_until_ms'}) do
    local value = tonumber(record[field] or '0')
    if not value or value < 0 or value >= 9007199254740992 or value ~= math.floor(value) then
      return {}
    end
    record[field] = record[field] and whole(value)
  end
  return record
end
"""

_BEGIN = (
    f"""
local kept, login_kept, again = {KEPT_MS}, {LOGIN_KEPT_MS}, {AGAIN_MS}
"""
    + _READ
    + """
local late = tonumber(ARGV[1])
if now > late then
  return {'late', whole(now)}
end

local key = KEYS[1]
local record, problem = read(key)
if problem then
  return problem
end

local function number(field)
  return tonumber(record[field] or '0')
end

local function text(field)
  return record[field] or ''
end

local function set(field, value)
  if value == '' or value == false or value == nil then
    record[field] = nil
  elseif type(value) == 'number' then
    record[field] = whole(value)
  else
    record[field] = value
  end
end

local function later(at)
  if at > number('keep_until_ms') then
    set('keep_until_ms', at)
  end
end

local function hold(claimant, length)
  set('claimant', claimant)
  set('until_ms', now + length)
  set('length_ms', length)
end

local function unhold()
  set('claimant', '')
  set('until_ms', '')
  set('length_ms', '')
end

local function is_held()
  local ends = number('until_ms')
  return now < ends and ends <= now + number('length_ms')
end

local function give_back(claimant)
  if text('taken') == '' or text('taker') ~= claimant or text('refresh_token') ~= '' then
    return
  end
  set('taker', '')
  if text('tried') ~= '' then
    set('tried', '')
  else
    set('refresh_token', text('taken'))
    set('taken', '')
  end
end

local function write()
  redis.call('DEL', key)
  local fields = {}
  for field, value in pairs(record) do
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if #fields > 0 then
    redis.call('HSET', key, unpack(fields))
    redis.call('PEXPIREAT', key, whole(math.max(number('keep_until_ms'), now + 1)))
  end
end
"""
)

_CLAIM = """
local claimant, known, need, rejected = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local lease, login, quarantine, may_try = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]), ARGV[9] == '1'
local unheard, adopts_only = ARGV[10], ARGV[11] == '1'
if unheard ~= '' then
  give_back(unheard)
  if text('claimant') == unheard then
    unhold()
  end
  write()
end
if text('token') ~= '' and number('gen') > known and number('expires_ms') - now > need and text('fingerprint') ~= rejected then
  local left = text('refresh_token')
  if left == '' then
    left = text('taken')
  end
  return {'newer', whole(now), text('gen'), text('token'), text('expires_ms'), text('fingerprint'), left}
end
if adopts_only then
  return {'free', whole(now), whole(now)}
end
if is_held() then
  return {text('claimant') ~= '' and 'lease' or 'down', whole(now), text('until_ms')}
end
local is_missing = number('gen') == 0 and number('fence') == 0
if login ~= '' then
  if not is_missing and number('gen') < known then
    return {'missing', whole(now), whole(now + again)}
  end
  local is_unset = is_missing and number('quarantine_ms') == 0
  if is_unset or number('quarantine_ms') > now + quarantine then
    set('quarantine_ms', now + quarantine)
    later(now + quarantine + kept)
    write()
  end
  if now < number('quarantine_ms') then
    return {'missing', whole(now), text('quarantine_ms')}
  end
end
local given, doubtful = text('refresh_token'), false
if given ~= '' then
  set('refresh_token', '')
  set('taken', given)
  set('taker', claimant)
  set('tried', '')
elseif login == '' then
  set('taken', '')
  set('taker', '')
  set('tried', '')
elseif is_missing then
  set('taken', login)
  set('taker', claimant)
elseif text('tried') ~= '' then
  return {'lost', whole(now)}
elseif not may_try then
  return {'doubtful', whole(now), whole(now + again)}
else
  given, doubtful = text('taken'), true
  if given == '' then
    given = login
  end
  set('taken', given)
  set('taker', claimant)
  set('tried', '1')
end
local fence = math.max(now, number('fence') + 1)
set('fence', fence)
set('quarantine_ms', '')
hold(claimant, lease)
if rejected ~= '' and text('fingerprint') == rejected then
  set('token', '')
  set('fingerprint', '')
  set('expires_ms', '')
end
later(now + lease + (login == '' and kept or login_kept))
write()
return {'granted', whole(now), whole(fence), given, doubtful and '1' or ''}
"""

_RENEW = """
local claimant, fence, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if number('fence') > fence or (number('fence') == fence and text('claimant') ~= claimant) then
  return {'lost', whole(now)}
end
if number('fence') < fence then
  set('fence', fence)
  set('taken', ARGV[5])
  set('taker', claimant)
  set('tried', ARGV[6])
  set('refresh_token', '')
  set('quarantine_ms', '')
end
hold(claimant, lease)
later(now + lease + (ARGV[5] == '' and kept or login_kept))
write()
return {'renewed', whole(now)}
"""

_SHARE = """
local claimant, fence, token, expires = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local fingerprint, refresh_token, keep = ARGV[6], ARGV[7], tonumber(ARGV[8])
if number('fence') > fence then
  return {'overtaken', whole(now)}
end
if text('fingerprint') == fingerprint and text('taker') ~= claimant and text('until_ms') == '' then
  return {'shared', whole(now), text('gen')}
end
local gen = math.max(now, number('gen') + 1)
record = {}
set('gen', gen)
set('fence', fence)
if expires > now then
  set('token', token)
  set('expires_ms', expires)
  set('fingerprint', fingerprint)
end
set('refresh_token', refresh_token)
set('keep_until_ms', math.max(expires, now) + keep)
write()
if ARGV[9] then
  redis.pcall(ARGV[9], key, whole(gen))
end
return {'shared', whole(now), whole(gen)}
"""

_GIVE_UP = """
local claimant, fence, login, wait = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
if number('fence') ~= fence then
  return {'other', whole(now)}
end
if login == 'intact' then
  give_back(claimant)
elseif login == 'refused' then
  set('tried', '1')
end
unhold()
if wait > 0 then
  hold('', wait)
end
later(now + wait + kept)
write()
return {'ended', whole(now)}
"""

_RESTORE = """
local gen, token, expires = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local fingerprint, login, keep, quarantine = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local has_login = text('refresh_token') ~= '' or text('taken') ~= ''
if number('gen') > gen or (number('gen') == gen and (has_login or login == '')) then
  return {'newer', whole(now)}
end
set('gen', gen)
if token ~= '' and expires > now then
  set('token', token)
  set('expires_ms', expires)
  set('fingerprint', fingerprint)
end
if login ~= '' and not (text('claimant') ~= '' and is_held()) and login ~= text('taken') then
  set('refresh_token', login)
  set('taken', '')
  set('taker', '')
  set('tried', '')
  set('quarantine_ms', now + quarantine)
end
later(expires + keep)
write()
return {'restored', whole(now)}
"""

_LOOK = """
local seen = {'seen', whole(now)}
for _, key in ipairs(KEYS) do
  local record, problem = read(key)
  if problem then
    return problem
  end
  seen[#seen + 1] = record.gen or '0'
end
return seen
"""


class Script(NamedTuple):
    """One script: how it is called in errors, and its text."""

    name: str
    source: str


CLAIM = Script("claim", _BEGIN + _CLAIM)
RENEW = Script("renew", _BEGIN + _RENEW)
SHARE = Script("share", _BEGIN + _SHARE)
GIVE_UP = Script("give_up", _BEGIN + _GIVE_UP)
RESTORE = Script("restore", _BEGIN + _RESTORE)
LOOK = Script("look", _READ + _LOOK)
