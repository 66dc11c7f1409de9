#!/usr/bin/env bash
# Stops smart-factory and takes its units and its command away. Run it as root.
#
#   sudo deploy/scripts/uninstall.sh [--purge] [--dry-run] [--help]
#
# What is yours stays: /etc/smart-factory, /var/lib/smart-factory, /var/log/smart-factory, the releases,
# and drop-ins of yours for the units; --purge removes these, too, and the system user. The database
# is never touched.
#
# Exit code: 0 done, 1 failed, 2 wrong use.
set -Eeuo pipefail
shopt -s nullglob

readonly SF_PROGRAM=uninstall
# shellcheck source=deploy/scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly UNITS=/etc/systemd/system OWNER=smart-factory
SF_DRY_RUN=''

# Every unit of ours that is there, instances of templates included: those that run, and those that
# are enabled.
units() {
  local path
  systemctl list-units --all --plain --no-legend 'smart-factory*' | awk '{ print $1 }'
  for path in "$UNITS"/{smart-factory*,smart-factory.target.wants/*}; do
    [[ ! -f $path || $path == *@.service ]] || basename "$path"
  done
}

remove_units() {
  local purge=$1 found
  mapfile -t found < <(units | sort -u)
  if ((${#found[@]})); then
    step "stop ${found[*]}" systemctl stop "${found[@]}"
    step 'disable them' disable "${found[@]}"
  fi
  step "remove the units in $UNITS" remove_files "$purge"
  step 'have systemd read its units anew' systemctl daemon-reload
  step 'have it forget which have failed' systemctl reset-failed 'smart-factory*'
}

# Directories of drop-ins stay while there is one in them that install.sh has not written.
remove_files() {
  local purge=$1 path
  rm -f "$UNITS"/smart-factory*.d/10-smart-factory.conf
  for path in "$UNITS"/smart-factory*; do
    if [[ -z $purge && $path == *.d ]]; then
      rmdir "$path" 2>/dev/null || say "kept: $path, which has drop-ins of yours"
    else
      rm -rf "$path"
    fi
  done
}

disable() {
  systemctl --quiet disable "$@" 2>/dev/null || true # one that was never enabled, or is gone
}

remove_user() {
  if getent passwd "$OWNER" >/dev/null; then
    userdel "$OWNER"
  fi
}

main() {
  local purge='' path
  while (($#)); do
    case $1 in
      -h | --help)
        help
        return
        ;;
      --purge) purge=yes ;;
      --dry-run) SF_DRY_RUN=yes ;;
      *) fail 2 "unexpected argument '$1': allowed are --purge, --dry-run, --help" ;;
    esac
    shift
  done
  ((EUID == 0)) || [[ -n $SF_DRY_RUN ]] || fail 2 'it has to be run by root: sudo deploy/scripts/uninstall.sh'
  remove_units "$purge"
  step 'remove /run/smart-factory' rm -rf /run/smart-factory
  step 'remove the command' rm -f /usr/local/bin/smart-factory \
    /usr/share/bash-completion/completions/smart-factory
  if [[ -n $purge ]]; then
    for path in /opt/smart-factory /etc/smart-factory /var/{lib,log}/smart-factory; do
      step "remove $path" rm -rf "$path"
    done
    step "remove the user $OWNER" remove_user
  else
    say 'kept: /opt/smart-factory, /etc/smart-factory, /var/{lib,log}/smart-factory (--purge removes them)'
  fi
  say 'done'
}

main "$@"
