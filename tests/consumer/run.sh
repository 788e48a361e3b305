#!/bin/sh
# Installs the library and builds programs on it, in C and C++, in each way that users have:
# find_package(), pkg-config (shared and static) and add_subdirectory().
#   run.sh SOURCE_DIR BUILD_DIR CC CXX
set -eu
source=$1 build=$2 cc=$3 cxx=$4
here=$source/tests/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=0

# quietly COMMAND...: its output only when it fails
quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log"
        echo "FAIL $*"
        exit 1
    fi
}

# try WAY PROGRAM [argument]
try() {
    way=$1
    shift
    said=$("$@") || { echo "FAIL $way: $*"; exit 1; }
    case $said in
        "weft "[0-9]*) programs=$((programs + 1)) ;;
        *) echo "FAIL $way: $* said '$said'"; exit 1 ;;
    esac
}

# not_shared PROGRAM: one linked with the static library must not need the shared one
not_shared() {
    if readelf -d "$1" | grep -q 'NEEDED.*libweft'; then
        echo "FAIL $1 needs libweft.so"
        exit 1
    fi
}

try_built() {
    for language in c cc; do
        try "$1" "$2/shared-$language"
        try "$1" "$2/static-$language"
        try "$1" "$2/jemalloc-$language" jemalloc
        try "$1" "$2/jemalloc-static-$language" jemalloc
        not_shared "$2/static-$language"
        readelf -d "$2/shared-$language" | grep -q 'NEEDED.*libweft\.so\.' ||
            { echo "FAIL $2/shared-$language does not need libweft.so"; exit 1; }
    done
}

# Installed under one name and used under another: nothing may hold on to the place of installation.
quietly cmake --install "$build" --prefix "$work/first"
mv "$work/first" "$work/prefix"
prefix=$work/prefix
libdir=$(dirname "$(find "$prefix" -name libweft.a)")
for file in "$prefix/include/weft.h" "$prefix/include/weft/selector.h" "$libdir/libweft.so" \
    "$libdir/pkgconfig/weft.pc" "$libdir/cmake/weft/weftConfig.cmake"; do
    [ -e "$file" ] || { echo "FAIL not installed: $file"; exit 1; }
done

echo "find_package"
quietly cmake -G Ninja -S "$here" -B "$work/found" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx"
quietly cmake --build "$work/found" -j2
try_built find_package "$work/found"

echo "pkg-config"
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
cflags=$(pkg-config --cflags weft)
libs=$(pkg-config --libs weft)
static_libs=$(pkg-config --static --libs weft | sed 's/-lweft /-l:libweft.a /')
case $libs in *urcu*) echo "FAIL pkg-config --libs weft names liburcu"; exit 1 ;; esac
for language in c cc; do
    compiler=$cc
    [ $language = cc ] && compiler=$cxx
    # shellcheck disable=SC2086 # lists of flags
    {
        quietly "$compiler" $cflags -Wall -Wextra -Werror "$here/consumer.$language" \
            -o "$work/shared" $libs -Wl,-rpath,"$libdir"
        quietly "$compiler" $cflags "$here/consumer.$language" -o "$work/static" $static_libs
    }
    try pkg-config "$work/shared"
    try pkg-config "$work/static"
    not_shared "$work/static"
done

echo "add_subdirectory"
quietly cmake -G Ninja -S "$here" -B "$work/part" -DWEFT_SUBDIRECTORY="$source" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx"
quietly cmake --build "$work/part" -j2
try_built add_subdirectory "$work/part"

echo "consumer: $programs programs ran"
