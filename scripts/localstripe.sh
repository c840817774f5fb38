#!/usr/bin/env bash
# Install localstripe, a stand-in for Stripe that others wrote, into a virtual environment of its own.
#
# It is GPL: tests start it as a process and speak HTTP to it; it is never imported and no part of what we ship. Where
# the package index has it not, this says so and the tests that need it are skipped. `localstripe.sh lock` locks anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-localstripe
lock=scripts/localstripe.lock

say() { printf '[localstripe] %s\n' "$*"; }

write_lock() {
    .venv/bin/uv pip compile scripts/localstripe.in --output-file "$lock" --quiet --universal --generate-hashes \
        --python-version 3.11 --exclude-newer "${LOCK_COOL_DOWN:-7 days}" --no-annotate --no-emit-index-url \
        --no-emit-find-links --custom-compile-command "scripts/localstripe.sh lock"
}

from_lock() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 \
        --require-hashes "$@"
}

# What builds it comes first, from the same lock: an isolated build would fetch something nobody has checked.
install() {
    .venv/bin/python -m venv --clear "$venv" &&
        awk '/^setuptools==/ {on = 1; print; next} /^[^ ]/ {on = 0} on' "$lock" >"$venv/build.txt" &&
        from_lock --only-binary=:all: -r "$venv/build.txt" &&
        from_lock --no-build-isolation --only-binary=:all: --no-binary=localstripe -r "$lock" &&
        cksum <"$lock" >"$venv/.made-from"
}

if [ "${1:-}" = lock ]; then write_lock; exit; fi

# One at a time in this folder; whoever waited finds it done.
exec 9<scripts
if command -v flock >/dev/null; then flock 9; fi
if [ "$(cat "$venv/.made-from" 2>/dev/null)" = "$(cksum <"$lock")" ]; then exit 0; fi
say "installing it into $venv"
install || { rm -rf "$venv"; say "it is not to be had here: the tests against it will be skipped"; }
