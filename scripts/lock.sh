#!/usr/bin/env bash
# Write requirements.lock from requirements.in: for every platform, with hashes, without any index address.
#
# A week's cool-down: a release that turns out to be malicious is usually gone within days. LOCK_ARGS adds options,
# e.g. LOCK_ARGS="--upgrade" or LOCK_ARGS="--upgrade-package aiohttp".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2086  # LOCK_ARGS is a list of words on purpose
.venv/bin/uv pip compile requirements.in --output-file requirements.lock --quiet --universal --generate-hashes \
    --python-version 3.11 --exclude-newer "${LOCK_COOL_DOWN:-7 days}" --no-annotate --no-emit-index-url \
    --no-emit-find-links --custom-compile-command "make lock" ${LOCK_ARGS:-}
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"
