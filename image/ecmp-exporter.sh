#!/bin/sh
# Starts the exporter with CAP_NET_RAW where this container may have it, and without it elsewhere.
#
# Container engines give a user that is not root no capability, only the right to get some through a file
# (the bounding set). setpriv beside this script is such a file. It hands the capability on, and fails where the
# engine left it out (cap_drop without cap_add) or forbids new rights (no-new-privileges).
set -eu
with_net_raw="/usr/local/lib/ecmp-exporter/setpriv --inh-caps=+net_raw --ambient-caps=+net_raw"
program=/opt/ecmp-exporter/bin/ecmp-exporter
# shellcheck disable=SC2086  (words)
if $with_net_raw true 2>/dev/null; then
    exec $with_net_raw "$program" "$@"
fi
exec "$program" "$@"
