# Sourced by every part: what a check needs from the machine.

# need TEST PACKAGE...: where the command TEST fails, installs Debian's packages, else says how and stops.
need() {
  bash -c "$1" >/dev/null 2>&1 && return
  local install="apt-get install -y --no-install-recommends ${*:2}" sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  echo "missing ($1); trying: $install" >&2
  { "${sudo[@]}" apt-get update -qq; "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive $install -qq; } >&2 || true
  hash -r
  if ! bash -c "$1" >/dev/null 2>&1; then
    echo "error: missing ($1); install it with: apt-get update && $install" >&2
    exit 1
  fi
}

# toolchain COMMAND WHERE: stops where a toolchain is missing that Debian has only in an old version.
toolchain() {
  command -v "$1" >/dev/null || { echo "error: $1 is missing: see $2" >&2; exit 1; }
}
