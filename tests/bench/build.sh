# Sourced with $root and $target: sets ONCEWATCH_BIN and BENCH_MEASURE, building what is not given.

# The programs first: they are built with the features of the tests' dependencies, the binary that ships without.
if [ -z "${BENCH_MEASURE:-}" ]; then
    BENCH_MEASURE=$(cd "$root" && cargo build --quiet --release --locked --bench measure --message-format=json |
        python3 -c '
import json, sys
artifacts = map(json.loads, sys.stdin)
print(*(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "measure" and a.get("executable")))')
fi
if [ -z "${ONCEWATCH_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet --release --locked --bin oncewatch)
    ONCEWATCH_BIN=$target/release/oncewatch
fi
for program in "$BENCH_MEASURE" "$ONCEWATCH_BIN"; do
    [ -x "$program" ] || { echo "error: $program is not a program" >&2; exit 1; }
done
ONCEWATCH_BIN=$(realpath "$ONCEWATCH_BIN")
export ONCEWATCH_BIN BENCH_MEASURE
