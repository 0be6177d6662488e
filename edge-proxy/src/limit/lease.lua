-- The bucket of one key, as one number: the moment at which it is full again (the generic cell rate algorithm).
-- Microseconds of Redis's own clock: edges' clocks differ. What edges spent on credit, or give back, comes first. They may
-- owe as much as all of them could spend before they knew of each other, and pay it back before anything is granted.
local interval, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local spent, want, edges = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now) + spent * interval
full = math.max(math.min(full, now + (1 + edges) * limit * interval), now)
local level = (limit * interval - (full - now)) / interval
local granted, wait = 0, 0
if level >= 1 then
  -- A part of it: the others ask as well.
  granted = math.min(want, math.max(1, math.floor(level / edges)))
  full = full + granted * interval
else
  wait = math.ceil((1 - level) * interval)
end
if full > now then
  redis.call('SET', KEYS[1], string.format('%.2f', full), 'PX', math.ceil((full - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return {granted, wait, math.max(math.floor(level - granted), 0)}
