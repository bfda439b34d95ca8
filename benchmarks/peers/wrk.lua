-- Cycle through tokens and paths, and print what was measured as one line of JSON.
--
-- Arguments: MODE TOKENS PATHS FIRST COUNT. MODE "warm" sends every token to every path again and
-- again, from requests built beforehand; "cold" takes a new token for each request, from line FIRST
-- of the file on, COUNT of them.

local function lines_of(name, first, count)
    local kept, number = {}, 0
    for line in io.lines(name) do
        number = number + 1
        if number >= first then
            kept[#kept + 1] = line
            if #kept == count then break end
        end
    end
    return kept
end

local ready, tokens, paths = {}, {}, {}
local at = 0

local function build(path, token)
    return wrk.format("GET", path, {["Host"] = wrk.headers["Host"], ["Authorization"] = "Bearer " .. token})
end

function init(args)
    tokens = lines_of(args[2], tonumber(args[4]), tonumber(args[5]))
    paths = lines_of(args[3], 1, 1000000)
    if args[1] == "warm" then
        for _, path in ipairs(paths) do
            for _, token in ipairs(tokens) do
                ready[#ready + 1] = build(path, token)
            end
        end
    end
end

function request()
    at = at + 1
    if #ready > 0 then
        return ready[(at - 1) % #ready + 1]
    end
    return build(paths[at % #paths + 1], tokens[(at - 1) % #tokens + 1])
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nRESULT {"requests": %d, "duration_s": %f, "p50_ms": %f, "p99_ms": %f, "not_2xx": %d, "socket_errors": %d, "bytes": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout, summary.bytes))
end
