#!/usr/bin/env bash
# Make .venv from requirements.lock and install our members into it, editable. A second call finds nothing to do.
#
# uv does it when it can be had (on PATH, or as the wheel the lock names), else pip does it, slower. No address of a
# package index is written anywhere: what pip was told on this machine is handed to uv through the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv

say() { printf '[setup] %3ds  %s\n' "$SECONDS" "$*"; }

# What the environment was made from: one line for the locked packages, one for our members. Set-up does again only
# the part whose line changed, so that work in one member never takes the packages away under a running process.
packages_wanted() { { pwd; cat requirements.lock scripts/setup.sh; } | cksum; }
members_wanted() { { editables; cat -- */*/pyproject.toml; } | cksum; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "paymux needs Python 3.11 or newer, with its venv module (Debian: apt-get install python3-venv)" >&2
    return 1
}

make_venv() {
    local python
    if "$venv/bin/python" -c 'import pip' 2>/dev/null; then return; fi # without pip: somebody interrupted us
    python=$(find_python)
    say "making $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
}

# pip's settings, in uv's words. Variables that uv already has win.
export_pip_settings() {
    local line key value
    while IFS= read -r line; do
        key=${line%%=*} value=${line#*=}
        key=${key#:env:.} key=${key#global.} key=${key#install.}
        value=${value#\'} value=${value%\'}
        [ -n "$value" ] || continue
        case $key in
            cert) export SSL_CERT_FILE=${SSL_CERT_FILE:-$value} ;;
            index-url) export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$value} ;;
            extra-index-url) export UV_INDEX=${UV_INDEX:-$value} ;;
            find-links) if [ -d "$value" ]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-$value}; fi ;;
        esac
    done < <("$venv/bin/python" -m pip config list 2>/dev/null)
}

# The lock's own lines of one package, so that even the installer is checked by its hash.
locked() { awk -v want="$1==" 'index($0, want) == 1 {on = 1; print; next} /^[^ ]/ {on = 0} on' requirements.lock; }

find_uv() {
    if command -v uv >/dev/null; then command -v uv; return; fi
    if [ -x "$venv/bin/uv" ]; then echo "$venv/bin/uv"; return; fi
    locked uv >"$venv/uv.lock.txt"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes -r "$venv/uv.lock.txt" >&2 && echo "$venv/bin/uv"
}

members() { local toml; for toml in packages/*/pyproject.toml apps/*/pyproject.toml; do dirname "$toml"; done; }

# Members whose package folder exists; hatchling refuses to build one that has no code.
editables() {
    local member
    for member in $(members); do
        if compgen -G "$member/src/*/__init__.py" >/dev/null; then printf -- '-e\n./%s\n' "$member"; fi
    done
}

install_packages_with_uv() {
    local uv
    say "looking for uv"
    uv=$(find_uv) || return 1
    say "installing $(grep -c '^[a-z0-9].*==' requirements.lock) locked packages with uv"
    # Copies, not hard links: the cache is often on another file system, and uv would warn about it each time.
    UV_LINK_MODE=${UV_LINK_MODE:-copy} "$uv" pip sync --quiet --python "$venv/bin/python" --require-hashes \
        requirements.lock
}

install_packages_with_pip() {
    say "uv is not to be had here; installing with pip, which takes a minute or two"
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off --only-binary=:all: \
        --require-hashes -r requirements.lock | sed -un 's/^Collecting \([^ ]*\).*/[setup]       \1/p'
}

install_members() {
    local -a list
    mapfile -t list < <(editables)
    say "installing our members: $(printf '%s\n' "${list[@]}" | grep -vc '^-e$')"
    # uv is a locked package; by now it is there.
    "$venv/bin/uv" pip install --quiet --offline --python "$venv/bin/python" --no-deps --no-build-isolation \
        "${list[@]}" 2>/dev/null ||
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "${list[@]}"
}

is_current() { [ "$(cat "$venv/.paymux-$1" 2>/dev/null)" = "$2" ] && "$venv/bin/python" -c '' 2>/dev/null; }

main() {
    local packages members
    packages=$(packages_wanted) members=$(members_wanted)
    if is_current packages "$packages" && is_current members "$members"; then return; fi

    # One set-up at a time in this folder; whoever waited finds it done. The folder itself is the lock: no file to clean.
    exec 9<.
    if command -v flock >/dev/null; then flock 9; fi

    if ! is_current packages "$packages"; then
        make_venv
        rm -f "$venv/.paymux-packages" "$venv/.paymux-members"
        export_pip_settings
        install_packages_with_uv || install_packages_with_pip
        echo "$packages" >"$venv/.paymux-packages"
    fi
    if ! is_current members "$members"; then
        install_members
        echo "$members" >"$venv/.paymux-members"
    fi
    say "ready"
}

main "$@"
