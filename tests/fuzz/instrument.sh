#!/bin/sh
# rustc for the fuzz targets, as cargo's RUSTC_WRAPPER and RUSTC_WORKSPACE_WRAPPER: our crates and the decoders of
# pictures report their coverage to libFuzzer. Everything else is compiled as for the tests, and is shared with them.
set -eu
[ "$1" = "$0" ] && exec "$@"
previous= crate=
for argument; do
    [ "$previous" = --crate-name ] && crate=$argument
    previous=$argument
done
case $crate in
sd_protocol | sd_worker | sd_fuzz | fdeflate | gif | image | image_webp | png | weezl | zune_core | zune_jpeg)
    exec "$@" --cfg fuzzing \
        -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
