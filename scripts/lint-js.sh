#!/usr/bin/env bash
# Lint and format of the pages' scripts: each file by itself, and the parts of the page's script joined as src/http/page/assets.rs
# joins them, since they use each other's names. `scripts/lint-js.sh --write` formats.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.tools/bin:$PATH"

if [ "${1:-}" = --write ]; then
    exec biome check --write
fi
biome ci --error-on-warnings

parts=$(sed -n 's|.*include_str!("\(script/[a-z0-9_]*\.js\)").*|src/http/page/\1|p' src/http/page/assets.rs)
whole=$(mktemp -d)
trap 'rm -r "$whole"' EXIT
mkdir "$whole/src"
# shellcheck disable=SC2086
cat $parts >"$whole/src/whole.js"
cp biome.jsonc "$whole/"
cd "$whole"
biome lint --error-on-warnings --only=correctness/noUndeclaredVariables --only=correctness/noUnusedVariables src
