#!/bin/bash
# Checks that every kernel table gives the portable table's bits: natively, and for 64-bit ARM under an emulator.
# Only C is compiled, by Debian's cross compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null || [ ! -e /usr/aarch64-linux-gnu/lib/libm.a ]; then
    apt-get update -qq
    apt-get install -y -qq gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
sources=(Tests/CKernels/*.c Sources/CGlimKernelChecks/*.c Sources/CGlimKernels/*.c)
include="-ISources/CGlimKernels/include -ISources/CGlimKernelChecks/include"

clang -O2 -Wall -Wextra $include "${sources[@]}" -lm -o "$out/native"
# GCC would form multiply-adds of its own.
aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off -static $include "${sources[@]}" -lm \
    -o "$out/neon"

"$out/native"
qemu-aarch64 "$out/neon"
