-- wrk repeats the raw request in the file $REQUEST and prints the figures as one line of JSON.
-- `requests` counts the successful responses; `errors` counts failed connections, timeouts and statuses from 400.
local file = assert(io.open(os.getenv("REQUEST"), "rb"))
local request = file:read("*a")
file:close()

function wrk.format() return request end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}',
    summary.requests - e.status, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
