-- wrk sends the request that the file $REQUEST holds, whole, again and again; the figures come out as one JSON line.
-- `requests` are the good answers. What is no answer at all, and every status from 400 on, is among `errors`.
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
