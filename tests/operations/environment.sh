# Sourced by the checks of the rules: tools by their Debian package, a Python environment, the binary.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
python=$target/operations-venv/bin/python
export PYTHONDONTWRITEBYTECODE=1

source "$root/tests/operations/need.sh"

# binary: exports ONCEWATCH_BIN, building it if it is not given.
binary() {
  if [[ -z ${ONCEWATCH_BIN:-} ]]; then
    (cd "$root" && cargo build --release --locked) >&2
    ONCEWATCH_BIN=$target/release/oncewatch
  fi
  [[ -x $ONCEWATCH_BIN ]] || { echo "error: ONCEWATCH_BIN=$ONCEWATCH_BIN is not a program" >&2; exit 1; }
  ONCEWATCH_BIN=$(realpath "$ONCEWATCH_BIN")
  export ONCEWATCH_BIN
}

need 'command -v python3' python3
packages=(pytest==9.2.0 PyYAML==6.0.3 promql-parser==0.12.0)
if ! "$python" -c 'import pytest, yaml, promql_parser' 2>/dev/null; then
  need 'python3 -c "import ensurepip"' python3-venv
  if ! { python3 -m venv "$target/operations-venv" && "$python" -m pip install -q --disable-pip-version-check "${packages[@]}"; } >&2; then
    echo "error: Python packages are missing; install them with: $python -m pip install ${packages[*]}" >&2
    exit 1
  fi
fi
