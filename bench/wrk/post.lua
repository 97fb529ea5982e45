-- wrk sends the file named by BENCH_BODY as JSON, again and again, and ends with one line of JSON for bench/load.py:
--   BENCH_BODY=bench/calls/ping_test.json wrk -t1 -c50 -d3s -s bench/wrk/post.lua http://127.0.0.1:8080/ping
-- With BENCH_BODIES instead, each line of that file is sent once. There have to be enough: what follows is empty, fails,
-- and says why.

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local once = os.getenv("BENCH_BODIES")
if once then
  local next_line = read(once):gmatch("[^\n]+")
  function request()
    local line = next_line()
    ran_out = line == nil
    return wrk.format(nil, nil, nil, line or "")
  end
else
  wrk.body = read(assert(os.getenv("BENCH_BODY"), "BENCH_BODY names the body"))
end

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local why = threads[1]:get("ran_out") and "after there were no more bodies to send" or ""
  io.write(string.format(
    '\n{"calls":%.0f,"elapsed_us":%.0f,"p50_us":%.0f,"p90_us":%.0f,"p99_us":%.0f,"p999_us":%.0f,"failures":%.0f,"why":"%s"}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), failures, why))
end
