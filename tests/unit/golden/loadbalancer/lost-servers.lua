-- Written by k8sha; the next install puts changes back.
-- Ends what clients have open with a server that is down. HAProxy's own "on-marked-down shutdown-sessions" does it too
-- early: a connection that is just being made then hangs until its client gives up (seen with HAProxy 3.0). So this waits
-- until all of those have been passed on.
local SILENT = 750 -- ms: longer than "timeout connect"
local PATIENCE = 5000 -- ms for one that answers, while another one is ready

-- Whether a server gets no connections, and whether it answers its checks all the same: late, or not as it should.
local function lost(server)
    local stats = server:get_stats()
    local state = string.match(stats.status, "^%a+")
    local answers = state == "DOWN" and string.find(stats.check_status or "", "L7", 1, true) ~= nil
    return state == "DOWN" or state == "MAINT", answers
end

core.register_task(function()
    local down, silent = {}, {} -- ms, by name
    while true do
        core.msleep(250)
        local ready = false
        local checked, unchecked = core.backends["kube-apiserver"].servers, core.backends["kube-apiserver-unready"].servers
        for _, server in pairs(checked) do
            ready = ready or not lost(server)
        end
        for name, server in pairs(checked) do
            local is_lost, answers = lost(server)
            local was = silent[name] or 0
            down[name] = is_lost and (down[name] or 0) + 250 or 0
            silent[name] = is_lost and not answers and was + 250 or 0
            if was <= SILENT and silent[name] > SILENT then
                server:shut_sess()
                unchecked[name]:shut_sess()
            elseif answers and ready and down[name] >= PATIENCE then
                server:shut_sess()
            end
        end
    end
end)
