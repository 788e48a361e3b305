#!/bin/sh
# Runs a Criterion program: criterion.sh PROGRAM [argument...]
#
# Criterion allocates RLIMIT_NOFILE bytes for each test, so the soft limit is kept small here; a
# test that needs more descriptors may raise it again, up to the hard limit.
# shellcheck disable=SC3045 # -S: dash, bash and busybox know it
if [ "$(ulimit -Sn)" = unlimited ] || [ "$(ulimit -Sn)" -gt 4096 ]; then
    ulimit -Sn 4096
fi
exec "$@" -j2
