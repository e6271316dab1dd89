# Sourced by the checks of the rules: tools by their Debian package, a Python environment, the binary.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
python=$target/operations-venv/bin/python
export PYTHONDONTWRITEBYTECODE=1

# need COMMAND PACKAGE: installs the package where that is possible, and says how where it is not.
need() {
  command -v "$1" >/dev/null && return
  local install="apt-get install -y --no-install-recommends $2"
  echo "$1 is missing; trying: $install" >&2
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $install -qq; } >&2 || ! command -v "$1" >/dev/null; then
    echo "error: $1 is missing; install it with: $install" >&2
    exit 1
  fi
}

# binary: exports ONCEWATCH_BINARY, building it if it is not given.
binary() {
  if [[ -z ${ONCEWATCH_BINARY:-} ]]; then
    (cd "$root" && cargo build --release --locked) >&2
    ONCEWATCH_BINARY=$target/release/oncewatch
  fi
  [[ -x $ONCEWATCH_BINARY ]] || { echo "error: ONCEWATCH_BINARY=$ONCEWATCH_BINARY is not a program" >&2; exit 1; }
  export ONCEWATCH_BINARY
}

need python3 python3
packages=(pytest==9.2.0 PyYAML==6.0.3 promql-parser==0.12.0)
if ! "$python" -c 'import pytest, yaml, promql_parser' 2>/dev/null; then
  python3 -c 'import ensurepip' 2>/dev/null || need pyvenv python3-venv
  if ! { python3 -m venv "$target/operations-venv" && "$python" -m pip install -q --disable-pip-version-check "${packages[@]}"; } >&2; then
    echo "error: Python packages are missing; install them with: $python -m pip install ${packages[*]}" >&2
    exit 1
  fi
fi
