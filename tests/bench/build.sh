# Sourced with $root and $target: what the measurements run.

# The benchmark's own programs; sets BENCH_MEASURE unless it is given.
build_programs() {
    if [ -z "${BENCH_MEASURE:-}" ]; then
        BENCH_MEASURE=$(cd "$root" && cargo build --quiet --release --locked --bench measure --message-format=json |
            python3 -c '
import json, sys
artifacts = map(json.loads, sys.stdin)
print(*(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "measure" and a.get("executable")))')
    fi
    is_program BENCH_MEASURE
}

# The sidecar as it ships; sets ONCEWATCH_BIN unless it is given. After the programs: those are built with the features
# that the tests' dependencies add, and leave such a binary behind.
build_binary() {
    if [ -z "${ONCEWATCH_BIN:-}" ]; then
        (cd "$root" && cargo build --quiet --release --locked --bin oncewatch)
        ONCEWATCH_BIN=$target/release/oncewatch
    fi
    is_program ONCEWATCH_BIN
}

# Whether the file that the variable names can be run; makes its path absolute and exports it.
is_program() {
    [ -x "${!1}" ] || { echo "error: $1=${!1} is not a program" >&2; exit 1; }
    export "$1=$(realpath "${!1}")"
}
