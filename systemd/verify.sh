#!/usr/bin/env bash
# Holds the units beside it to `systemd-analyze verify`, without a word, and to an exposure of 1.5.
#
#   systemd/verify.sh
#
# What they start need not be installed: copies of the units are looked at, whose paths lead to
# empty programs.
set -Eeuo pipefail

readonly EXPOSURE=15 # tenths, as systemd-analyze takes it

# A unit's copy, and the programs that it starts.
copy() {
  local unit=$1 directory=$2 program
  sed "s|/opt/smart-factory|$directory/opt|g" "$unit" >"$directory/$(basename "$unit")"
  sed -n 's/^Exec[A-Za-z]*=\([^ ]*\).*/\1/p' "$directory/$(basename "$unit")" | while read -r program; do
    mkdir -p "$(dirname "$program")"
    printf '#!/bin/sh\n' >"$program"
    chmod +x "$program"
  done
}

main() {
  local directory unit said code=0
  umask 022 # systemd has something to say of copies that everybody may write
  directory=$(mktemp -d)
  COPIES=$directory
  trap 'rm -rf "$COPIES"' EXIT
  cd "$(dirname "${BASH_SOURCE[0]}")"
  for unit in *.service *.socket *.target *.timer; do
    copy "$unit" "$directory"
  done
  # The colon: and systemd's own.
  export SYSTEMD_UNIT_PATH="$directory:"
  said=$(systemd-analyze verify --man=no "$directory"/*.{service,socket,target,timer} 2>&1) || code=1
  if [[ -n $said ]]; then
    printf '%s\n' "$said" >&2
    code=1
  fi
  for unit in *.service; do
    said=$(systemd-analyze security --no-pager --offline=true --threshold="$EXPOSURE" "$directory/$unit" 2>&1) || {
      code=1
      grep -v '✓' <<<"$said" >&2
    }
  done
  return "$code"
}

main "$@"
