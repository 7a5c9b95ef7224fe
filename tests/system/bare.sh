# shellcheck shell=bash
# What the scripts beside this file begin with (bash, sourced as root): a bare Debian, and wheels for it.
# Both are kept under $EDGE_AGENT_TEST_CACHE (default /var/cache/edge-agent-tests) for the next run.

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/venv.sh
. "$CHECKOUT/scripts/venv.sh"
# shellcheck source=scripts/wheels.sh
. "$CHECKOUT/scripts/wheels.sh"
CACHE=${EDGE_AGENT_TEST_CACHE:-/var/cache/edge-agent-tests}
SUITE=bookworm
PYTHON_OF_SUITE=3.11

# need COMMAND PACKAGE - a program that the script cannot do without.
need() { command -v "$1" >/dev/null || fail "$1 is missing; apt install $2"; }

need_root() { [ "$(id -u)" -eq 0 ] || fail "only root may make and enter a root file system; sudo $0"; }

# can_run ARCH - have the kernel run programs of that architecture, emulated where it must be.
can_run() {
    local arch=$1
    if [ "$arch" = "$(dpkg --print-architecture)" ]; then return; fi
    need qemu-aarch64-static qemu-user-static
    need update-binfmts binfmt-support
    update-binfmts --enable qemu-aarch64
    grep -q '^flags:.*F' /proc/sys/fs/binfmt_misc/qemu-aarch64 ||
        fail "programs for arm64 do not start; mount binfmt_misc, then update-binfmts --enable qemu-aarch64"
}

# bare_root ARCH - prints the path of a tar with a bare Debian, made when there is none.
bare_root() (
    arch=$1 tar=$CACHE/minbase-$SUITE-$1.tar
    if [ ! -e "$tar" ]; then
        need debootstrap debootstrap
        say "Making a bare Debian $SUITE for $arch, once"
        mkdir -p "$CACHE" && part=$(mktemp -d "$CACHE/part.XXXXXX") && trap 'rm -rf "$part"' EXIT || exit
        {
            debootstrap --foreign --arch "$arch" --variant=minbase "$SUITE" "$part/root" &&
                chroot "$part/root" /debootstrap/debootstrap --second-stage &&
                chroot "$part/root" apt-get clean && rm -rf "$part/root"/var/lib/apt/lists/*
        } >"$part/log" 2>&1 || { tail -n 5 "$part/log" >&2 && exit 1; }
        tar -C "$part/root" --one-file-system -cf "$part/tar" . && mv "$part/tar" "$tar" || exit
    fi
    printf '%s\n' "$tar"
)

# wheels ARCH - prints the path of a folder with a wheel of this checkout, named in its file WHEEL, and of all that it
# needs there: extras, what builds it, and the other runtime. What lies in it already is not fetched again.
wheels() (
    folder=$CACHE/wheels-$SUITE-$1 machine=$1
    case $machine in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; esac
    mkdir -p "$folder" && rm -f "$folder"/edge_agent-*.whl && build_own_wheel "$folder" >&2 || exit
    own=$(own_wheel "$folder") && basename "$own" >"$folder/WHEEL" || exit
    say "Collecting wheels for $machine"
    fetch=("$VENV/bin/python" -m pip download -qq --only-binary :all: --python-version "$PYTHON_OF_SUITE"
        "${PLATFORMS[@]/%/_$machine}" --dest "$folder")
    "${fetch[@]}" --find-links "$folder" -c "$CHECKOUT/constraints.txt" "${own}[demo,service,test]" \
        'setuptools>=65.5' wheel >&2 || exit
    "${fetch[@]}" tflite-runtime==2.14.0 'numpy<2' >&2 || exit
    printf '%s\n' "$folder"
)

# enter ROOT FROM:TO... -- COMMAND... - run a command inside, with these folders of ours to be read there. The mounts
# and whatever still runs are gone when it ends. There is no /sys: an emulator shows this machine's CPUs in /proc/cpuinfo,
# and the runtimes crash where the two tell of different kinds of CPU.
# shellcheck disable=SC2016 # expanded by the inner shell
enter() {
    unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 && shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t tmpfs tmpfs "$root/run"
        touch "$root/etc/resolv.conf"
        mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
        while [ "$1" != -- ]; do
            mkdir -p "$root${1#*:}"
            mount --bind "${1%:*}" "$root${1#*:}"
            mount -o remount,bind,ro "$root${1#*:}"
            shift
        done
        shift
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            chroot "$root" "$@"' - "$@"
}
