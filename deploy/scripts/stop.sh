#!/usr/bin/env bash
# Stops the smart-factory that RUNTIME_DIRECTORY/gunicorn.pid names, and waits for its end.
#
#   deploy/scripts/stop.sh [--timeout SECONDS] [--force] [--dry-run] [--help]
#
# Requests in flight are answered first, for at most GRACEFUL_TIMEOUT. Only a process that is
# certainly the master is signalled: never one by its name, never one that has a former master's pid.
# --timeout: how long to wait (default GRACEFUL_TIMEOUT + 10 s); --force: then kill what is left.
#
# Exit code: 0 stopped, or not running; 1 still running after the timeout; 2 wrong use.
set -Eeuo pipefail

readonly SF_PROGRAM=stop
# shellcheck source=deploy/scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# kill_left NAME=START…: ends those processes of the master's that are still themselves.
kill_left() {
  local each
  for each in "$@"; do
    if alive "${each%=*}" "${each#*=}"; then
      kill -KILL "${each%=*}" 2>/dev/null || true
    fi
  done
}

# The master's own children, with their starts: molds and workers, no embedded database.
family() {
  local pid start
  for pid in $(children "$SF_MASTER"); do
    if [[ $(title_of "$pid") == 'gunicorn: '* ]] && start=$(start_of "$pid"); then
      printf '%s=%s\n' "$pid" "$start"
    fi
  done
}

stop() {
  local limit=$1 force=$2
  local -a left
  kill -TERM "$SF_MASTER" 2>/dev/null || ! master_runs ||
    fail 1 "not allowed to signal the master, pid $SF_MASTER" \
      'run it as root or as the user that the service runs as'
  if within "$limit" gone "$SF_MASTER" "$SF_MASTER_START"; then
    say "stopped (pid $SF_MASTER)"
    return
  fi
  [[ -n $force ]] ||
    fail 1 "waited $limit s: the master, pid $SF_MASTER, still runs" 'wait, or run it again with --force'
  mapfile -t left < <(family)
  kill_left "${left[@]}"
  within 5 gone "$SF_MASTER" "$SF_MASTER_START" || kill_left "$SF_MASTER=$SF_MASTER_START"
  within 5 gone "$SF_MASTER" "$SF_MASTER_START" || fail 1 "the master, pid $SF_MASTER, cannot be killed"
  say "killed after $limit s (pid $SF_MASTER)"
}

main() {
  local limit='' force='' dry_run=''
  while (($#)); do
    case $1 in
      -h | --help)
        help
        return
        ;;
      --force) force=yes ;;
      --dry-run) dry_run=yes ;;
      --timeout)
        [[ ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] ||
          fail 2 "--timeout '${2:-}': expected whole seconds, from 1 to 99999"
        limit=$2
        shift
        ;;
      *) fail 2 "unexpected argument '$1': allowed are --timeout, --force, --dry-run and --help" ;;
    esac
    shift
  done
  locate
  if [[ -z $limit ]]; then
    limit=$(seconds GRACEFUL_TIMEOUT 10)
    limit=$((limit + 10))
  fi
  look_for_master
  if [[ -z $SF_MASTER ]]; then
    say "not running${SF_STALE:+ ($SF_STALE)}"
    return
  fi
  if under_systemd && [[ $(systemctl show --value -p MainPID smart-factory.service) == "$SF_MASTER" ]]; then
    fail 2 "systemd would start it again: pid $SF_MASTER is its smart-factory.service" \
      'systemctl stop smart-factory'
  fi
  if [[ -n $dry_run ]]; then
    say "would send TERM to the master, pid $SF_MASTER, and wait $limit s"
    return
  fi
  stop "$limit" "$force"
}

main "$@"
