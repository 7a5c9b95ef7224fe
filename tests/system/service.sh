# shellcheck shell=bash
# What the scripts beside this file ask of the service on a machine, and how they tell it.

UNIT=edge-agent.service
CONFIG=/etc/edge-agent/config.toml

# step WHAT - its name, until `passed`.
step() {
    STEP=$1
    BEGUN_MS=$(now_ms)
}

now_ms() { date +%s%3N; }

# passed [FIGURE] - one line: how long the step took, and what it showed.
passed() {
    awk -v ms="$(($(now_ms) - BEGUN_MS))" -v step="$STEP" -v figure="${1:+: $1}" \
        'BEGIN { printf "ok %8.1f s  %s%s\n", ms / 1000, step, figure }'
}

# check WHAT COMMAND... - it must succeed.
check() {
    local what=$1
    shift
    "$@" || {
        inside journalctl --no-pager --unit "$UNIT" --lines 25 >&2
        fail "$STEP: not so: $what"
    }
}

# is EXPECTED ACTUAL
is() { [ "$1" = "$2" ] || fail "$STEP: expected '$1', got '$2'"; }

property() { inside systemctl show --property "$1" --value "${2:-$UNIT}"; }
pid() { property MainPID; }
worker() { inside pgrep -P "$(pid)" -f edge_agent.worker | head -n 1; }
is_active() { [ "$(property ActiveState)" = active ]; }

# predictions [COUNT [AGENT]] - so many arrive at the broker from now on.
predictions() {
    inside mosquitto_sub -h 127.0.0.1 -t "edge-agent/${2:-+}/camera/+/prediction" -C "${1:-5}" -W "$PATIENCE_S" \
        "${BROKER_LOGIN[@]}" >"$WORK/predictions"
}
BROKER_LOGIN=()

# errors_since SECONDS - the lines that tell why it ended.
errors_since() { inside journalctl --no-pager --output cat --unit "$UNIT" --since "@$1" | grep "error: "; }

seconds() { inside date +%s; }

# configure SED_SCRIPT - change the configuration that was written at first.
configure() {
    [ -e "$ROOT$CONFIG.first" ] || cp -p "$ROOT$CONFIG" "$ROOT$CONFIG.first"
    sed "$1" "$ROOT$CONFIG.first" >"$ROOT$CONFIG"
}

restart() { inside systemctl restart "$UNIT"; }

# another_than PID - the service runs, in another process.
another_than() { ! [[ "$(pid)" =~ ^(0|$1)$ ]]; }

# listing - every file of the machine but what changes by itself, and its users.
listing() {
    inside find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
        -o -path /var/lib/systemd -o -path /var/lib/mosquitto -o -path /var/lib/dpkg -o -path /etc/credstore -o -path '/etc/mosquitto/p*' \
        -o -path '/etc/*-' -o -path /etc/.pwd.lock -o -name __pycache__ \) -prune -o -print | sort
    inside getent passwd | cut -d : -f 1 | sort
    inside getent group | sort
}

# left_below LISTING - the topmost folders that are not in an earlier one.
left_below() {
    diff "$1" <(listing) | sed -n 's|^> /|/|p' | grep -v '^/root\|^/home' |
        awk '{ for (each in kept) if (index($0, each "/") == 1) next; kept[$0]; print }'
}
