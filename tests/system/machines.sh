# shellcheck shell=bash
# Debian machines to try things on, for the scripts beside this file, which source it: a root made by debootstrap,
# kept as a tar archive, unpacked for each run and booted by systemd-nspawn with a network of its own, which leads
# nowhere. Needs root, debootstrap and systemd-container.

ROOTS=${EDGE_AGENT_TEST_CACHE:-/var/cache/edge-agent-tests}
PACKAGES=systemd-sysv,dbus,udev,procps,python3,mosquitto,mosquitto-clients
PATIENCE_S=${EDGE_AGENT_TEST_PATIENCE_S:-120} # nothing waits that long when all is well
export SYSTEMD_COLORS=0

say() { printf '%s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need() {
    [ "$(id -u)" -eq 0 ] || fail "only root may boot a machine; sudo $0"
    local each
    for each in debootstrap systemd-nspawn nsenter; do
        command -v "$each" >/dev/null || fail "no $each; sudo apt install debootstrap systemd-container"
    done
}

# bare_root RELEASE - prints the archive of a root with systemd, Python and a broker, and nothing of ours.
bare_root() {
    local archive=$ROOTS/service-$1.tar new
    if [ ! -e "$archive" ]; then
        say "Making a root of Debian $1 with debootstrap" >&2
        mkdir -p "$ROOTS"
        new=$(mktemp -d "$ROOTS/new.XXXXXX")
        debootstrap --variant=minbase --include="$PACKAGES" "$1" "$new" >"$new.log" 2>&1 ||
            fail "debootstrap failed; the whole story is in $new.log"
        rm -rf "$new"/var/cache/apt/archives/*.deb "$new.log"
        # Of no machine: each boot finds its own.
        : >"$new/etc/machine-id"
        tar -C "$new" -cf "$new.tar" . && mv "$new.tar" "$archive"
        rm -rf "$new"
    fi
    printf '%s\n' "$archive"
}

# make_machine RELEASE - ROOT, a fresh one in a folder of its own that goes with this script.
make_machine() {
    local archive
    archive=$(bare_root "$1")
    WORK=$(mktemp -d /var/tmp/edge-agent-system.XXXXXX)
    ROOT=$WORK/root
    NAME=ea-${WORK##*.}
    trap 'halt_machine; umount -q "$WORK"/* 2>/dev/null || :; rm -rf "$WORK"' EXIT
    mkdir "$ROOT"
    tar -C "$ROOT" -xf "$archive"
    chmod 755 "$ROOT"
    printf 'allow_anonymous true\nlistener 1883 127.0.0.1\n' >"$ROOT/etc/mosquitto/conf.d/local.conf"
}

# boot_machine - until all is started that starts by itself.
boot_machine() {
    # What the service may do is its own sandbox's to say, so the machine may ask for the clock; the last argument is for
    # systemd of Debian 13 on a host with control groups of version 1.
    systemd-nspawn --quiet --boot --directory="$ROOT" --machine="$NAME" --register=no --keep-unit \
        --private-network --system-call-filter="adjtimex clock_adjtime" --console=pipe "${MOUNTS[@]}" -- "${BOOT_OPTIONS[@]}" </dev/null >>"$WORK/console" 2>&1 &
    SUPERVISOR=$!
    await "the machine boots" machine_is_up
}

MOUNTS=()
BOOT_OPTIONS=(SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1)

machine_is_up() {
    LEADER=$(pgrep -P "$SUPERVISOR" | head -n 1) && [ -n "$LEADER" ] || return 1
    # Degraded: some unit of Debian's own makes no sense in a container.
    inside systemctl is-system-running 2>/dev/null | grep -qE '^(running|degraded)$'
}

halt_machine() {
    [ -n "${SUPERVISOR:-}" ] || return 0
    kill -KILL "$SUPERVISOR" ${LEADER:+"$LEADER"} 2>/dev/null || :
    wait "$SUPERVISOR" 2>/dev/null || :
    SUPERVISOR="" LEADER=""
}

# reboot_machine - as it does it itself; systemd-nspawn then leaves it to its caller to boot it again.
reboot_machine() {
    local code=0
    inside systemctl --no-block reboot 2>/dev/null || :
    wait "$SUPERVISOR" || code=$?
    [ "$code" -eq 133 ] || fail "the machine did not reboot: systemd-nspawn ended with $code"
    boot_machine
}

# inside COMMAND... - as root of the machine.
inside() {
    nsenter --target "$LEADER" --mount --uts --ipc --net --pid --root --wdns=/ -- \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb "$@"
}

# await WHAT COMMAND... - until it succeeds.
await() {
    local what=$1 deadline=$((SECONDS + PATIENCE_S))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "in vain: $what"
        sleep 0.1
    done
}
