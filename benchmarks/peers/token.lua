-- Ask for a token again and again, and print what was measured as one line of JSON.
--
-- Arguments: BASIC FORM. Every answer must be 200.

function init(args)
    wrk.method = "POST"
    wrk.headers["Authorization"] = "Basic " .. args[1]
    wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
    wrk.body = args[2]
end

function done(summary, latency, _)
    io.write(string.format(
        '{"requests": %d, "seconds": %.6f, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
        summary.requests, summary.duration / 1e6,
        summary.errors.status + summary.errors.connect + summary.errors.read
            + summary.errors.write + summary.errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
