#!/bin/sh
# edge-agent for a machine without a network: sudo sh THIS_FILE [OPTION...], the options of install.sh.
# What follows after the last line of this script is a tar archive.
set -eu
work=$(mktemp -d "${TMPDIR:-/var/tmp}/edge-agent-kit.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
head=$(awk '/^# === archive ===$/ { print NR + 1; exit }' "$0")
tail -n "+$head" "$0" | tar -x -C "$work" --no-same-owner || {
    echo "error: this kit cannot be unpacked into $work; is it whole, and is there room? (TMPDIR=... names another place)" >&2
    exit 1
}
bash "$work/scripts/install.sh" --offline "$work/wheels" "$@"
exit
# === archive ===
