-- The generic cell rate algorithm, as each replica counts alone (governor): one number per counter, the
-- moment at which nothing is spent any more. Microseconds of Redis's own clock: replicas' clocks differ.
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local free = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now) + interval
local wait = free - interval * burst - now
if wait > 0 then
  return {0, 0, wait}
end
redis.call('SET', KEYS[1], string.format('%.0f', free), 'PX', math.ceil((free - now) / 1000))
return {1, math.floor(-wait / interval), free - now}
