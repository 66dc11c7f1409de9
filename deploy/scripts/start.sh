#!/usr/bin/env bash
# Starts smart-factory detached, on a machine without systemd, and waits until it is ready.
#
#   deploy/scripts/start.sh [--dry-run] [--help]
#
# What is started: SMART_FACTORY_ROOT/current (default /opt/smart-factory) when there is an
# installation, else the tree that this script lies in. Its output is appended to
# LOG_DIRECTORY/smart-factory.log. Root starts it as the user who owns STATE_DIRECTORY.
#
# Exit code: 0 every worker is ready, or it runs already; 1 it does not start: the end of its
# output is shown; 2 wrong use; 3 not every worker is ready within READY_TIMEOUT + 30 s: it goes on.
set -Eeuo pipefail

readonly SF_PROGRAM=start
readonly READY_LINE='[Master] All workers ready'
# shellcheck source=deploy/scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Makes a directory that belongs to the service's user; one that is there is left alone.
make_directory() {
  [[ ! -d $1 ]] || return 0
  mkdir -p "$1" 2>/dev/null ||
    fail 1 "cannot make the directory $1" 'make it as root, for the user that the service runs as'
  [[ -z $SF_USER_ID ]] || chown "$SF_USER_ID:$SF_GROUP_ID" "$1"
}

# Secrets that systemd would give by LoadCredential; only root can read them.
load_credentials() {
  local name file
  [[ -n $SF_INSTALLATION ]] || return 0
  for name in SECRET_KEY INTERNAL_TOKEN; do
    file=/etc/smart-factory/credentials/$name
    if [[ -z $(setting "$name" '') && -r $file ]]; then
      export "$name=$(<"$file")"
    fi
  done
}

# Starts the master in a session of its own; sets SF_MASTER and SF_MASTER_START.
launch() {
  local log=$1
  local -a command=(setsid)
  [[ -z $SF_USER_ID ]] || command+=(setpriv "--reuid=$SF_USER_ID" "--regid=$SF_GROUP_ID" --init-groups)
  command+=("$SF_TREE/.venv/bin/gunicorn" -c "$SF_TREE/gunicorn.conf.py")
  export PWD
  cd "$SF_TREE" # through the link: each reload looks up anew where it leads
  umask 027
  # 8 and 9 are locks, which a service must not hold for as long as it lives.
  "${command[@]}" </dev/null >>"$log" 2>&1 8>&- 9>&- &
  SF_MASTER=$!
  SF_MASTER_START=$(start_of "$SF_MASTER") || SF_MASTER_START=gone
}

# The output that came since the start; a service's log is its own, and may be rotated.
new_output() {
  tail -c +"$(($2 + 1))" "$1" 2>/dev/null || true
}

ready() {
  if new_output "$1" "$2" | grep -F "$READY_LINE" >/dev/null; then # -q would break the pipe
    return 0
  fi
  local wanted # with LOG_LEVEL=error only the board says so
  board_speaks && wanted=$(board_number "$BOARD_WANTED") && [[ $(board_ready) == "$wanted" ]]
}

ready_or_gone() {
  ready "$@" || ! master_runs
}

start() {
  local log=$SF_LOGS/smart-factory.log size=0 limit code=0 next='mend what failed and start again'
  make_directory "$SF_RUNTIME"
  make_directory "$SF_STATE"
  make_directory "$SF_LOGS"
  # Two at once must not both find that nothing runs.
  exec 8>>"$SF_RUNTIME/start.lock"
  flock --wait 120 8 || fail 1 "another start has held $SF_RUNTIME/start.lock for 2 minutes"
  look_for_master
  if [[ -n $SF_MASTER ]]; then
    say "it runs already (pid $SF_MASTER)"
    return
  fi
  [[ -z $SF_STALE ]] || say "$SF_STALE: it is ignored"
  limit=$(seconds READY_TIMEOUT 30) # apart from the sum, which would swallow its failure
  limit=$((limit + 30))
  [[ ! -e $log ]] || size=$(stat -c %s "$log")
  load_credentials
  launch "$log"
  say "started $SF_TREE (pid $SF_MASTER); its output goes to $log"
  within "$limit" ready_or_gone "$log" "$size" || true
  if ready "$log" "$size"; then
    say 'every worker is ready'
  elif master_runs; then
    new_output "$log" "$size" | tail -n 20 >&2
    fail 3 "waited $limit s for every worker to be ready; it goes on" 'look at it with: smart-factory status'
  else
    wait "$SF_MASTER" || code=$?
    new_output "$log" "$size" | tail -n 40 >&2
    [[ -z $SF_INSTALLATION ]] || next+=', or return to the previous release: rollback.sh release'
    fail 1 "it does not start (exit code $code); the end of its output is above" "$next"
  fi
}

main() {
  local dry_run=''
  while (($#)); do
    case $1 in
      -h | --help)
        help
        return
        ;;
      --dry-run) dry_run=yes ;;
      *) fail 2 "unexpected argument '$1': allowed are --dry-run and --help" ;;
    esac
    shift
  done
  locate
  [[ ! -r $SF_ENVIRONMENT ]] || export ENV_FILE=$SF_ENVIRONMENT
  export RUNTIME_DIRECTORY=$SF_RUNTIME STATE_DIRECTORY=$SF_STATE
  if under_systemd; then
    fail 2 "systemd runs $SF_INSTALLATION" 'systemctl start smart-factory'
  fi
  [[ -x $SF_TREE/.venv/bin/gunicorn ]] ||
    fail 1 "$SF_TREE/.venv/bin/gunicorn is not there" 'create it with: deploy/scripts/setup.sh, or roll back'
  SF_USER_ID='' SF_GROUP_ID=''
  if ((EUID == 0)) && [[ -d $SF_STATE && $(stat -c %u "$SF_STATE") != 0 ]]; then
    SF_USER_ID=$(stat -c %u "$SF_STATE") SF_GROUP_ID=$(stat -c %g "$SF_STATE")
  fi
  if [[ -n $dry_run ]]; then
    look_for_master
    if [[ -n $SF_MASTER ]]; then
      say "it runs already (pid $SF_MASTER): nothing would be done"
    else
      say "would start $SF_TREE${SF_USER_ID:+ as uid $SF_USER_ID}, with its output in $SF_LOGS/smart-factory.log"
    fi
    return
  fi
  start
}

main "$@"
