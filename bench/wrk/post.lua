-- wrk sends the file named by BENCH_BODY as JSON, again and again, and ends with one line of JSON for bench/load.py:
--   BENCH_BODY=bench/calls/ping_test.json wrk -t1 -c50 -d3s -s bench/wrk/post.lua http://127.0.0.1:8080/ping

local file = assert(io.open(assert(os.getenv("BENCH_BODY"), "BENCH_BODY names the body"), "rb"))
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = file:read("*a")
file:close()

function done(summary, latency, requests)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"calls":%.0f,"elapsed_us":%.0f,"p50_us":%.0f,"p90_us":%.0f,"p99_us":%.0f,"p999_us":%.0f,"failures":%.0f}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), failures))
end
