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

# The sidecar as the image has it, static; sets ONCEWATCH_BIN unless it is given.
build_binary() {
    if [ -z "${ONCEWATCH_BIN:-}" ]; then
        local host flags
        host=$(rustc -vV | sed -n 's/^host: //p')
        flags=$(sed -n "s/.*RUSTFLAGS='\([^']*\)'.*/\1/p" "$root/deploy/Dockerfile")
        [ -n "$flags" ] || { echo "error: deploy/Dockerfile names no RUSTFLAGS" >&2; exit 1; }
        (cd "$root" && RUSTFLAGS=$flags cargo build --quiet --release --locked --bin oncewatch --target "$host")
        ONCEWATCH_BIN=$target/$host/release/oncewatch
    fi
    is_program ONCEWATCH_BIN
}

# Whether the file that the variable names can be run; makes its path absolute and exports it.
is_program() {
    [ -x "${!1}" ] || { echo "error: $1=${!1} is not a program" >&2; exit 1; }
    export "$1=$(realpath "${!1}")"
}
