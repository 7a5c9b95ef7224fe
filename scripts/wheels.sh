# shellcheck shell=bash
# Which wheels an installed service consists of, for the scripts that pack it; they source venv.sh before.

PACKED_PYTHONS=(3.11 3.13) # those of Debian 12 and 13

project_version() { sed -n 's/^__version__ = "\(.*\)"/\1/p' "$ROOT/edge_agent/__init__.py"; }

# collect_wheels ARCH DIRECTORY - the project's own wheel, what it needs as constraints.txt has it, and pip.
collect_wheels() {
    local arch=$1 wheels=$2 python
    case $arch in aarch64 | x86_64) ;; *) fail "no wheels for $arch; aarch64 or x86_64" ;; esac
    install_extras demo
    mkdir -p "$wheels"
    build_own_wheel "$wheels"
    for python in "${PACKED_PYTHONS[@]}"; do
        say "Collecting wheels for Python $python, $arch"
        "$VENV/bin/python" -m pip download -qq --dest "$wheels" --find-links "$wheels" -c "$ROOT/constraints.txt" \
            --only-binary :all: --python-version "$python" "${PLATFORMS[@]/%/_$arch}" \
            "$(own_wheel "$wheels")[service]" pip || fail "pip could not collect the wheels; check the network, then try again"
    done
}

# manylinux, the newest that Debian 12 (glibc 2.36) takes first.
PLATFORMS=()
for tag in manylinux_2_{35,34,31,28,27,26,24,17} manylinux2014; do PLATFORMS+=("--platform=$tag"); done

# build_own_wheel DIRECTORY - from a copy, for setuptools builds in the tree.
build_own_wheel() (
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -r "$ROOT"/{edge_agent,models,setup.cfg,pyproject.toml,README.md,LICENSE} "$copy/"
    "$VENV/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$1" "$copy" ||
        fail "the project's own wheel could not be built"
)

# own_wheel DIRECTORY - by its path, never by its name: what a package index has of that name is another program.
own_wheel() { printf '%s\n' "$1"/edge_agent-*.whl; }
