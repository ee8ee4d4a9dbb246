-- Sends what its arguments say (a method, a body and whether connections are kept), and ends with one
-- line of JSON.
function init(args)
  wrk.method = args[1]
  wrk.body = args[2]
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  -- As nginx asks: a connection each, so that all workers have their share.
  if args[3] ~= "keep-alive" then wrk.headers["Connection"] = "close" end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failures": %d, "refusals": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
