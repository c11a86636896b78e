#!/bin/sh
# Builds the DocC pages of every library from an optimised build: Tools/docs.sh OUT. Needs only the toolchain's docc.
set -eu
out=$1
command -v docc >/dev/null || { echo "error: this toolchain has no docc; install the one from https://www.swift.org/install" >&2; exit 1; }
build=$(swift build -c release --show-bin-path)
target=$(swiftc -print-target-info | sed -n 's/.*"triple" *: *"\(.*\)".*/\1/p' | head -n 1)
sdk=""
[ "$(uname -s)" = Darwin ] && sdk="-sdk $(xcrun --show-sdk-path)"

rm -rf "$out"
mkdir -p "$out"
headers="-I Sources/CGlimKernels/include -I Sources/CGlimKernelChecks/include"
for folder in .build/checkouts/*/Sources/*/include; do headers="$headers -I $folder"; done

archives=""
for library in GlimTensor GlimText GlimCheckpoint GlimModel GlimEngine GlimTrain GlimHub; do
    graphs=$build/symbols/$library
    rm -rf "$graphs"
    mkdir -p "$graphs"
    # shellcheck disable=SC2086
    swift symbolgraph-extract -module-name $library -target "$target" $sdk -I "$build/Modules" \
        $headers -minimum-access-level public -output-dir "$graphs"
    docc convert Sources/$library/$library.docc --additional-symbol-graph-dir "$graphs" \
        --output-path "$out/$library.doccarchive" --fallback-display-name $library \
        --fallback-bundle-identifier glim.$library >"$graphs/log" 2>&1 || { cat "$graphs/log" >&2; exit 1; }
    # Parameters that a name explains go without a line; a link to nothing is a mistake.
    if grep -A 8 "doesn't exist\|is ambiguous" "$graphs/log" >&2; then exit 1; fi
    archives="$archives $out/$library.doccarchive"
done
# shellcheck disable=SC2086
docc merge $archives --synthesized-landing-page-name Glim --output-path "$out/Glim.doccarchive"
# shellcheck disable=SC2086
rm -rf $archives
echo "$out/Glim.doccarchive is made; any web server shows it, for instance"
echo "  python3 -m http.server --directory $out/Glim.doccarchive 8080    # http://localhost:8080/documentation"
