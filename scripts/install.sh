#!/usr/bin/env bash
# Installs edge-agent as a system service on Debian 12 or 13, or Raspberry Pi OS (64 bit); run again, it upgrades.
#   sudo scripts/install.sh                        from this source tree, through the network
#   sudo scripts/install.sh --offline WHEELS       from a folder of wheels and nothing else
#   sudo scripts/install.sh --uninstall            configuration, models and outbox stay
#   sudo scripts/install.sh --uninstall --purge    nothing stays
# A version that does not run here, does not take the configuration or does not stay up is not kept: the one
# before goes on. Exit codes: 0 done, 1 it failed, 2 bad usage.
set -euo pipefail
umask 022
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/installing.sh
. "$ROOT/scripts/installing.sh"

UNITS=/etc/systemd/system
RULES=/etc/udev/rules.d
LINK=/usr/local/bin/edge-agent
PARTS=(edge-agent.service edge-agent@.service edge-agent-drive@.service)
RULE_FILES=(60-edge-agent-coral.rules 90-edge-agent-drives.rules)

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit "$1"
}

main() {
    local wheels="" uninstall="" purge=""
    while [ $# -gt 0 ]; do
        case $1 in
        --offline)
            [ -n "${2:-}" ] || usage 2 >&2
            wheels=$2
            shift
            ;;
        --uninstall) uninstall=yes ;;
        --purge) purge=yes ;;
        -h | --help) usage 0 ;;
        *) usage 2 >&2 ;;
        esac
        shift
    done
    [ -z "$purge" ] || [ -n "$uninstall" ] || usage 2 >&2
    [ "$(id -u)" -eq 0 ] || fail "only root may install; sudo $0"
    ! packaged || fail "the Debian package edge-agent is installed; upgrade or remove that, with apt"
    if [ -n "$uninstall" ]; then
        uninstall "$purge"
    else
        install_version "$wheels"
    fi
}

# packaged - a package that could not be installed to its end is one, too.
packaged() {
    case $(dpkg-query -Wf '${db:Status-Status}' $AGENT 2>/dev/null) in
    '' | not-installed | config-files) return 1 ;;
    esac
}

install_version() {
    local wheels=$1
    fits_machine
    make_user "$ROOT/systemd/edge-agent.sysusers"
    if [ -n "$wheels" ]; then
        verify_kit "$wheels"
        make_version "$wheels"
    else
        make_version_from_network
    fi
    keep_parts
    prove_version
    make_config
    switch_versions
    forget_versions
    closing_words
}

# keep_parts - of this version: to go back to it, and to uninstall it when this folder is gone.
keep_parts() {
    mkdir "$VERSION/scripts"
    cp "$ROOT/scripts/install.sh" "$ROOT/scripts/installing.sh" "$VERSION/scripts/"
    cp -r "$ROOT/systemd" "$VERSION/"
}

# verify_kit WHEELS - a kit's files are those that it was made of.
verify_kit() {
    local kit damaged
    kit=$(cd "$1/.." && pwd) || fail "there is no folder $1"
    [ -e "$kit/SHA256SUMS" ] || return 0
    damaged=$(cd "$kit" && sha256sum --check --quiet --strict SHA256SUMS 2>&1) ||
        fail "this kit is damaged ($(head -n 1 <<<"$damaged")); copy it again"
}

make_version_from_network() {
    [ -e "$ROOT/setup.cfg" ] || fail "this is no source tree; --offline $ROOT/wheels installs what lies here"
    if ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then
        say "Installing python3-venv with apt"
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null ||
            fail "python3-venv could not be installed; check the network (sudo apt update), or use an offline kit"
    fi
    begin_version
    /usr/bin/python3 -m venv "$VERSION" || fail "no virtual environment at $VERSION"
    # From a copy, for setuptools builds in the tree.
    mkdir "$VERSION/source"
    cp -r "$ROOT"/{edge_agent,models,setup.cfg,pyproject.toml,README.md,LICENSE} "$VERSION/source/"
    run_pip "$VERSION/bin/python" -m pip install -c "$ROOT/constraints.txt" "$VERSION/source[service]"
    rm -rf "$VERSION/source"
    end_version
}

# switch_versions - run the new version; where that does not stay up, the old one again.
switch_versions() {
    local failed why
    [ -n "$OLD" ] || keep_version
    place_parts "$VERSION"
    point_to "$VERSION"
    ln -sfn "$CURRENT/bin/edge-agent" "$LINK"
    if [ -z "$OLD" ]; then systemctl --quiet enable $AGENT.service; fi
    if ! systemd_runs; then
        keep_version
        say "systemd does not run here; the service starts with the machine"
        return
    fi
    reload_rules
    if failed=$(start_anew); then
        keep_version
        return
    fi
    why=$(last_error "$failed")
    [ -n "$OLD" ] ||
        fail "installed, but $failed does not start${why:+: $why}; mend that, then: sudo systemctl restart $failed"
    go_back || fail "neither the new version starts${why:+: $why} nor the old one; see: journalctl -u $failed"
    fail "the new version of $failed does not start${why:+: $why}; the old one runs again"
}

# go_back - to OLD.
go_back() {
    point_to "$OLD"
    place_parts "$OLD"
    if systemd_runs; then start_anew >/dev/null; fi
}

# place_parts VERSION - its units and rules.
place_parts() {
    local each
    for each in "${PARTS[@]}"; do install -m 644 "$1/systemd/$each" "$UNITS/$each"; done
    mkdir -p "$RULES"
    for each in "${RULE_FILES[@]}"; do install -m 644 "$1/systemd/$each" "$RULES/$each"; done
}

reload_rules() {
    # A container has no udev.
    if udevadm control --reload 2>/dev/null; then udevadm trigger --subsystem-match=usb --action=change || :; fi
}

closing_words() {
    say "edge-agent is installed: $("$CURRENT/bin/edge-agent" --version)"
    say "  configuration  $CONFIG; afterwards: sudo systemctl reload $AGENT"
    say "  what it does   edge-agent status, journalctl -u $AGENT"
    say "  who may ask    the group $AGENT: sudo usermod -aG $AGENT USER"
    if ! ldconfig -p | grep -q libedgetpu.so.1; then
        say "libedgetpu is not installed, and this script cannot do that: it comes from Coral's packages or a fork's." \
            "Without a Coral stick nothing needs it; for one, see the fix below."
    fi
    if ! [ -e /lib/systemd/system/systemd-timesyncd.service ]; then
        say "The clock is not kept by systemd-timesyncd: messages say \"unsynced\" until the service may ask the" \
            "kernel (docs/install.md, \"The clock\")."
    fi
    say "What edge-agent doctor finds, as the service's user:"
    as_agent "$CURRENT/bin/edge-agent" doctor || :
}

uninstall() {
    local purge=$1 each
    if systemd_runs; then
        systemctl --quiet disable --now $AGENT.service 2>/dev/null || :
        systemctl stop "$AGENT@*.service" "edge-agent-drive@*.service" 2>/dev/null || :
    fi
    rm -f "$UNITS"/multi-user.target.wants/$AGENT.service "$UNITS"/multi-user.target.wants/$AGENT@*.service
    for each in "${PARTS[@]}"; do rm -f "$UNITS/$each"; done
    for each in "${RULE_FILES[@]}"; do rm -f "$RULES/$each"; done
    rm -f "$LINK"
    rm -rf "$PREFIX"
    if systemd_runs; then
        systemctl daemon-reload
        systemctl reset-failed "$AGENT*" 2>/dev/null || :
        reload_rules
    fi
    if [ -n "$purge" ]; then
        purge_all
        say "edge-agent is gone, and all that it kept"
    else
        say "edge-agent is gone; ${CONFIG%/*}, $STATE and the user $AGENT stay (--uninstall --purge removes them)"
    fi
}

main "$@"
