#!/bin/sh
# Runs the C kernels under the address and undefined-behaviour sanitizers, and the thread pool with everything that
# its tests reach under the thread sanitizer. Ends with an error at the first finding.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .build

# The toolchain's clang where its runtime is complete; else the system's gcc or clang, which may have to be installed.
probe() {
    echo 'int main(void) { return 0; }' >.build/probe.c
    "$1" -fsanitize=address,undefined .build/probe.c -o .build/probe 2>/dev/null && .build/probe
}
compiler=""
for candidate in clang gcc; do
    if command -v "$candidate" >/dev/null && probe "$candidate"; then compiler=$candidate && break; fi
done
if [ -z "$compiler" ]; then
    sh Tools/setup.sh sanitizers
    compiler=gcc
    probe gcc || { echo "error: neither clang nor gcc has a runtime for the sanitizers; install gcc and libasan" >&2; exit 1; }
fi

echo "C kernels: $compiler -fsanitize=address,undefined"
# GCC would form multiply-adds of its own.
[ "$compiler" = gcc ] && words="-Wno-unknown-pragmas -ffp-contract=off" || words=""
# shellcheck disable=SC2086
"$compiler" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all $words \
    -ISources/CGlimKernels/include -ISources/CGlimKernelChecks/include Tests/CKernels/*.c Sources/CGlimKernelChecks/*.c \
    Sources/CGlimKernels/*.c -lm -o .build/kernels-sanitized 2>.build/sanitize.log ||
    { cat .build/sanitize.log >&2; exit 1; }
.build/kernels-sanitized

# In a folder of its own: everything is compiled once more.
echo "thread pool: swift test --sanitize=thread"
TSAN_OPTIONS="halt_on_error=0 exitcode=66" swift test --sanitize=thread --scratch-path .build-tsan --disable-xctest \
    --filter ThreadPoolTests >.build/tsan.log 2>&1 || { tail -n 60 .build/tsan.log >&2; exit 1; }
grep -E 'Test run with [1-9][0-9]* tests?.* passed' .build/tsan.log ||
    { echo "error: no test ran under the thread sanitizer; see .build/tsan.log" >&2; exit 1; }
echo "no finding"
