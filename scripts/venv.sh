# shellcheck shell=bash
# The virtual environment of this checkout, for the scripts beside this file, which source it (bash).
# Nothing outside the checkout is written. A second run finds everything done and says nothing.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# pythons NAME... - every interpreter of these names that starts, from PATH and from pyenv, one path a line.
pythons() {
    local name path
    for name in "$@"; do
        {
            type -aP "$name"
            printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}/versions/${name#python}".*/bin/"$name"
        } | while IFS= read -r path; do
            # pyenv's shims stand on PATH for versions that they then refuse to start, hence the trial.
            if [ -x "$path" ]; then "$path" -c 'import sys; print(sys.executable)' 2>/dev/null || :; fi
        done
    done
}

# main_python - the interpreter for edge-agent itself.
main_python() {
    local path
    while IFS= read -r path; do
        if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            printf '%s\n' "$path"
            return
        fi
    done < <(pythons python3 python3.13 python3.12 python3.11 python3.14)
    if [ -z "$(pythons python3)" ]; then
        fail "no python3 found; install Python 3.11 or newer: sudo apt install python3 python3-venv"
    fi
    fail "edge-agent needs Python 3.11 or newer and found only $(python3 --version 2>&1);" \
        "use Debian 12, Raspberry Pi OS Bookworm or newer, or put a python3.11 on PATH"
}

# make_venv PYTHON DIRECTORY - an environment with pip inside; what is there and works is left as it is.
make_venv() {
    local python=$1 venv=$2
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        say "Making ${venv##*/} with $("$python" --version 2>&1)"
        rm -rf "$venv"
        "$python" -m venv --without-pip "$venv" ||
            fail "$python cannot make a virtual environment; sudo apt install python3-venv"
    fi
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || give_pip "$python" "$venv" ||
        fail "no pip for $python; sudo apt install python3-venv"
}

# give_pip PYTHON DIRECTORY - pip from wherever this machine has one. Debian splits it off from python3;
# its package needs no root to be fetched and looked into.
give_pip() {
    local python=$1 venv=$2
    "$venv/bin/python" -m ensurepip >/dev/null 2>&1 ||
        "$python" -m pip --python "$venv/bin/python" install --quiet pip 2>/dev/null ||
        uv pip install --quiet --python "$venv/bin/python" pip 2>/dev/null ||
        pip_from_debian "$venv"
}

pip_from_debian() (
    venv=$1
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "Fetching pip from Debian (package python3-pip-whl, kept inside ${venv##*/})"
    mkdir -p "$venv/debian/partial" && cd "$venv/debian" || return 1
    fetch_deb || fetch_deb_with_fresh_lists || return 1
    dpkg-deb -x python3-pip-whl_*.deb . || return 1
    for wheel in usr/share/python-wheels/pip-*.whl; do
        ../bin/python "$wheel/pip" install --quiet --no-index --no-warn-script-location "$wheel" || return 1
    done
    cd .. && rm -rf debian
)

fetch_deb() { apt-get -qq download "$@" python3-pip-whl >/dev/null 2>&1; }

# The machine's own package lists are missing or too old: read new ones, into this folder.
fetch_deb_with_fresh_lists() {
    local lists=(-o "Dir::State=$PWD" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$PWD")
    mkdir -p lists/partial archives/partial
    apt-get -qq "${lists[@]}" update >/dev/null 2>&1
    fetch_deb "${lists[@]}"
}

# fingerprint - changes when what is installed would change.
fingerprint() {
    {
        cat "$ROOT/setup.cfg" "$ROOT/pyproject.toml" "$ROOT/constraints.txt" "$ROOT/edge_agent/__init__.py"
        "$VENV/bin/python" --version
    } 2>&1 | sha256sum | cut -c 1-64
}

# install_extras EXTRA... - .venv with this checkout (editable: a pull needs no second install) and extras.
install_extras() {
    local stamp=$VENV/edge-agent-installed extra
    local made_at="" made_of="" extras=()
    { read -r made_at && read -r made_of && read -ra extras; } 2>/dev/null <"$stamp" || :
    if [ -n "$made_at" ] && [ "$made_at" != "$ROOT" ]; then # its scripts name the old place
        rm -rf "$VENV"
        made_of="" extras=()
    fi
    local missing=""
    for extra in "$@"; do
        if [[ " ${extras[*]} " != *" $extra "* ]]; then missing=yes extras+=("$extra"); fi
    done
    if [ -z "$missing" ] && [ "$made_of" = "$(fingerprint)" ]; then return; fi

    local python
    python=$(main_python) || exit
    make_venv "$python" "$VENV"
    rm -f "$stamp"
    say "Installing edge-agent and the packages it needs into .venv (extras: ${extras[*]})"
    local list
    list=$(IFS=, && printf '%s' "${extras[*]}")
    (cd "$ROOT" && pip_install "$VENV" -c constraints.txt -e ".[$list]") || exit
    printf '%s\n%s\n%s\n' "$ROOT" "$(fingerprint)" "${extras[*]}" >"$stamp"
}

# pip_install DIRECTORY ARGUMENT... - pip, of whose output only the larger downloads are shown.
pip_install() {
    local venv=$1 log=$1/pip.log
    shift
    if "$venv/bin/python" -m pip install --progress-bar off "$@" 2>&1 | tee "$log" |
        { grep --line-buffered -o 'Downloading [^/]*[0-9] MB)' || :; } | sed -u 's/^Downloading/  downloading/' >&2 &&
        [ "${PIPESTATUS[0]}" -eq 0 ]; then
        return
    fi
    if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError|SSLError' "$log"; then
        fail "pip cannot reach its package index; check the network and the clock, then try again ($log)"
    fi
    grep -h 'ERROR: ' "$log" | sed 's/^ *//' | sort -u | tail -n 3 >&2
    fail "pip could not install; the whole story is in $log"
}
