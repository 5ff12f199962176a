# shellcheck shell=sh
# Sourced by scripts/demo, test and build: makes sure that the Bun which package.json pins is here,
# then hands over to TypeScript. POSIX sh, since on a fresh machine there is nothing but Node and npm.

set -eu
cd "$(dirname -- "$0")/.."

bun_version=$(sed -n 's/^ *"bun": *"\([0-9][0-9.]*\)".*/\1/p' package.json)

# Prints the first Bun of exactly the pinned version. npm may leave the package's launcher without
# its program (it runs no install scripts unless told to), so the program itself is looked for too.
find_bun() {
  for bun in node_modules/.bin/bun .tools/node_modules/.bin/bun \
    .tools/node_modules/@oven/bun-linux-*/bin/bun; do
    [ -x "$bun" ] || continue
    [ "$("$bun" --version 2>/dev/null)" = "$bun_version" ] || continue
    printf '%s\n' "$bun"
    return 0
  done
  return 1
}

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

install_bun() {
  [ -n "$bun_version" ] || fail "Cannot install Bun: package.json does not pin a version of it"
  command -v npm >/dev/null 2>&1 ||
    fail "Cannot install Bun: npm is not there; install Node.js 20 or later with npm"
  printf 'Installing Bun %s into .tools (once) …\n' "$bun_version" >&2
  log=$(mktemp)
  if ! npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error \
    "bun@$bun_version" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail "Cannot install Bun: npm failed; check that this machine reaches its npm registry"
  fi
  rm -f "$log"
}

# Runs scripts/$1.ts with the rest of the arguments, in place of this shell.
run_script() {
  script=$1
  shift
  bun=$(find_bun) || {
    install_bun
    bun=$(find_bun) || fail "Cannot start Bun $bun_version: no program for this machine in .tools"
  }
  exec "$bun" "scripts/$script.ts" "$@"
}
