#!/bin/sh
# Checks that a build can work, and installs what it lacks beside the Swift toolchain: git, C and C++ headers and a
# linker, and the shared libraries that the toolchain itself loads. Says nothing where nothing is missing.
# With the argument `python`: what a virtual environment needs instead; `sanitizers`: a compiler with their runtime;
# `browser`: Chromium and a Python to lead it.
set -u

fail() { echo "error: $*" >&2; exit 1; }

linux_packages=""
if [ "${1-}" = python ]; then
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        [ "$(uname -s)" = Linux ] || fail "no python3. Install it (brew install python), then run make again"
        linux_packages="python3 python3-venv"
    fi
elif [ "${1-}" = sanitizers ]; then
    [ "$(uname -s)" = Linux ] || fail "clang has no sanitizers. Install Xcode's command line tools, then run make again"
    linux_packages="gcc libc6-dev"
elif [ "${1-}" = browser ]; then
    command -v python3 >/dev/null || linux_packages="python3"
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
        linux_packages="$linux_packages chromium"
    [ -z "$linux_packages" ] || [ "$(uname -s)" = Linux ] ||
        fail "missing:$linux_packages. Install that and put it on PATH, then run make again"
elif [ "$(uname -s)" = Linux ]; then
    command -v git >/dev/null || linux_packages="$linux_packages git ca-certificates"
    # libstdc++'s headers stand for the whole C and C++ side: libc6-dev, binutils and libgcc come with them.
    { [ -e /usr/include/stdio.h ] && ls /usr/include/c++/*/string >/dev/null 2>&1; } ||
        linux_packages="$linux_packages g++"
    if command -v swift >/dev/null && ! swift build --version >/dev/null 2>&1; then
        linux_packages="$linux_packages libcurl4 libxml2 libsqlite3-0 libedit2 libncurses6 zlib1g tzdata"
    fi
fi

if [ -n "$linux_packages" ]; then
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "missing:$linux_packages. Install them as root, then run make again"
        as_root="sudo"
    fi
    command -v apt-get >/dev/null ||
        fail "missing (Debian's names):$linux_packages. Install them with your package manager, then run make again"
    echo "installing:$linux_packages"
    $as_root apt-get update -qq </dev/null || fail "apt-get update failed"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $linux_packages </dev/null >/dev/null ||
        fail "apt-get install failed for:$linux_packages"
fi

case "${1-}" in python | sanitizers | browser) exit 0 ;; esac

if ! command -v swift >/dev/null; then
    case "$(uname -s)" in
    Darwin) fail "no Swift toolchain. Install Xcode 26 or later, or a toolchain from https://www.swift.org/install" ;;
    *) fail "no Swift toolchain. Install Swift 6.2 or later from https://www.swift.org/install and put it on PATH" ;;
    esac
fi
version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
[ -n "$version" ] || fail "'swift --version' does not work; reinstall the toolchain from https://www.swift.org/install"
# shellcheck disable=SC2086
set -- $version
if [ "$1" -lt 6 ] || { [ "$1" -eq 6 ] && [ "$2" -lt 2 ]; }; then
    fail "Swift $1.$2 is too old: 6.2 or later is needed (https://www.swift.org/install)"
fi
