# shellcheck shell=bash
# The steps of an installation, for install.sh and for the Debian package's scripts, which source this file.
# Each version is a virtual environment of its own below $PREFIX/versions; the link $PREFIX/current says which one
# runs, and is moved only to one that was proven.

PREFIX=/opt/edge-agent
CURRENT=$PREFIX/current
CONFIG=/etc/edge-agent/config.toml
STATE=/var/lib/edge-agent
AGENT=edge-agent # the user, the group and the unit
NEEDED_MB=700    # one version, while pip unpacks it

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

say() { printf '%s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# fits_machine - there is a Python of the machine's own that the wheels are for, and room.
fits_machine() {
    [ -x /usr/bin/python3 ] || fail "no /usr/bin/python3; sudo apt install python3"
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$(/usr/bin/python3 --version) is too old; use Debian 12, Raspberry Pi OS Bookworm, or newer"
    /usr/bin/python3 -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
        fail "this system is a 32 bit one, for which the runtime has no wheels; install the 64 bit Raspberry Pi OS"
    mkdir -p "$PREFIX/versions"
    local free_mb
    free_mb=$(df --output=avail -BM "$PREFIX" | tail -n 1 | tr -dc 0-9)
    [ "$free_mb" -ge "$NEEDED_MB" ] ||
        fail "$PREFIX has $free_mb MB free and needs $NEEDED_MB; make room, then try again"
}

make_user() {
    systemd-sysusers "$1" >/dev/null 2>&1 || fail "the user $AGENT could not be made; see: systemd-sysusers $1"
}

# make_version WHEELS - VERSION, a new environment from a folder of wheels and nothing else.
make_version() {
    local wheels=$1 pip own
    pip=$(printf '%s\n' "$wheels"/pip-*.whl)
    own=$(printf '%s\n' "$wheels"/edge_agent-*.whl)
    if [ ! -e "$pip" ] || [ ! -e "$own" ]; then
        fail "$wheels holds no kit; make one with scripts/make-offline-kit"
    fi
    begin_version
    # Debian's python3 has everything but pip, and that is among the wheels.
    /usr/bin/python3 -m venv --without-pip "$VERSION" || fail "no virtual environment at $VERSION"
    run_pip "$VERSION/bin/python" "$pip/pip" install --no-index --find-links "$wheels" "${own}[service]"
    end_version
}

# begin_version - VERSION, and OLD, the one before, if any. What is not kept goes however this ends, and where it has
# taken over already the old one does again, by go_back, which whoever sources this file has.
begin_version() {
    OLD=$(current_version)
    VERSION=$PREFIX/versions/$(date -u +%Y%m%dT%H%M%S)-$$
    UNPROVEN=$VERSION
    trap leave_version EXIT
    trap 'exit 130' INT TERM HUP
}

leave_version() {
    local code=$?
    trap '' INT TERM HUP
    [ -n "$UNPROVEN" ] || return "$code"
    if [ "$(current_version)" = "$UNPROVEN" ]; then go_back >/dev/null || :; fi
    rm -rf "$UNPROVEN"
    return "$code"
}

# keep_version - it is proven.
keep_version() { UNPROVEN=""; }

# end_version - what the configuration names of it, by a path that no Python's number is in; and all on the disk.
end_version() {
    ln -s "$(cd "$VERSION" && printf '%s\n' lib/python3.*/site-packages/edge_agent/models)" "$VERSION/models"
    sync -f "$VERSION"
}

# run_pip COMMAND... - of whose output only what failed is shown.
run_pip() {
    local log=$VERSION/pip.log
    say "Installing into $VERSION"
    "$@" >"$log" 2>&1 && return
    tail -n 3 "$log" >&2
    if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError|SSLError' "$log"; then
        fail "pip cannot reach its package index; check the network and the clock, or install from an offline kit"
    fi
    fail "pip could not install; nothing was changed"
}

# prove_version - it runs on this machine, and takes the configuration that is there.
prove_version() {
    local said
    said=$(as_agent "$VERSION/bin/edge-agent" --version 2>&1) || fail "the new version does not run: $said"
    say "Proving $said"
    said=$(as_agent "$VERSION/bin/edge-agent" models verify "$VERSION/models/finishes" 2>&1) ||
        fail "no model runs here: $(tail -n 1 <<<"$said"); nothing was changed"
    [ -e "$CONFIG" ] || return 0
    said=$(as_agent "$VERSION/bin/edge-agent" config show -c "$CONFIG" 2>&1 >/dev/null) ||
        fail "the new version does not take the configuration: ${said#error: }; nothing was changed"
}

as_agent() { runuser -u "$AGENT" -- env -C / "$@"; }

# make_config - the commented one of this version, where there is none.
make_config() {
    [ ! -e "$CONFIG" ] || return 0
    mkdir -p "${CONFIG%/*}"
    "$VERSION/bin/edge-agent" config init | sed "s|\"$VERSION/[^\"]*/models/|\"$CURRENT/models/|" >"$CONFIG.new"
    chown "root:$AGENT" "$CONFIG.new" && chmod 640 "$CONFIG.new" && mv "$CONFIG.new" "$CONFIG"
    say "$CONFIG is written: a drawn scene as the camera, and a broker on this machine"
}

# point_to VERSION - the next start is that one's.
point_to() {
    rm -f "$CURRENT.new"
    ln -s "versions/${1##*/}" "$CURRENT.new"
    mv -T "$CURRENT.new" "$CURRENT"
    sync -f "$PREFIX"
}

# current_version - its folder; nothing where there is none.
current_version() { if [ -e "$CURRENT/bin/edge-agent" ]; then readlink -f "$CURRENT"; fi; }

systemd_runs() { [ -d /run/systemd/system ]; }

# wanted_units - those to be started anew: the agent unless somebody has disabled it, and whatever runs.
wanted_units() {
    {
        if systemctl --quiet is-enabled $AGENT.service 2>/dev/null; then echo $AGENT.service; fi
        systemctl list-units --plain --no-legend --state=active,activating,reloading $AGENT.service "$AGENT@*.service" |
            cut -d ' ' -f 1
    } | LC_ALL=C sort -u
}

# start_anew - what is wanted runs the current version; a unit's name and 1 where it does not.
start_anew() {
    local unit
    systemctl daemon-reload
    for unit in $(wanted_units); do
        systemctl reset-failed "$unit" 2>/dev/null || :
        if ! systemctl restart "$unit" 2>/dev/null || ! systemctl --quiet is-active "$unit"; then
            echo "$unit"
            return 1
        fi
    done
}

# last_error UNIT - the last line that it said.
last_error() {
    journalctl --unit "$1" --lines 20 --output cat 2>/dev/null | sed -n 's/^\(<[0-9]>\)\{0,1\}error: //p' | tail -n 1
}

# forget_versions - all but the current one.
forget_versions() {
    local each
    for each in "$PREFIX"/versions/*; do
        if [ "$each" != "$(current_version)" ]; then rm -rf "$each"; fi
    done
}

# purge_all - what is kept for the next installation: configuration, models, outbox, secrets, drop-ins, the user.
purge_all() {
    rm -rf "${CONFIG%/*}" "$STATE" "$STATE"-* /etc/credstore/edge-agent.* /etc/credstore/edge-agent-*
    rm -rf /etc/systemd/system/$AGENT.service.d /etc/systemd/system/$AGENT@*.service.d
    if getent passwd $AGENT >/dev/null; then userdel $AGENT 2>/dev/null || :; fi
    if getent group $AGENT >/dev/null; then groupdel $AGENT 2>/dev/null || :; fi
}
