# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# `rollback.sh release`: the previous release, by swapping the links `current` and `previous`.
#
# Sourced by rollback.sh, not run.

# Where the links lead, as they are written.
SF_CURRENT='' SF_PREVIOUS=''
readonly CONSUMERS='smart-factory-consumer@*.service'

plan_release() {
  need_installation
  SF_CURRENT=$(readlink "$SF_INSTALLATION/current") || SF_CURRENT=''
  SF_PREVIOUS=$(readlink "$SF_INSTALLATION/previous") || SF_PREVIOUS=''
  local directory=$SF_INSTALLATION/previous
  if [[ -n $SF_UNDO ]] && ! last_was_rollback; then
    fail 1 'nothing to undo: the last change of the release was no rollback'
  fi
  [[ -n $SF_PREVIOUS && -d $directory ]] ||
    fail 1 "no previous release: $directory leads nowhere" 'bring one out with: smart-factory release'
  [[ ! -e $directory/BUILDING ]] || fail 6 "the previous release, $SF_PREVIOUS, was never built to its end"
  [[ $SF_PREVIOUS != "$SF_CURRENT" ]] || fail 6 "the previous release, $SF_PREVIOUS, is the current one"
  works "$directory" ||
    fail 6 "the previous release, $SF_PREVIOUS, has no Python that runs either" 'rollback.sh bare'
  SF_PLAN=("point $SF_INSTALLATION/current to $SF_PREVIOUS, and previous to ${SF_CURRENT:-nothing}")
  if [[ -n $SF_MASTER ]]; then
    SF_PLAN+=("have the master, pid $SF_MASTER, reload")
  else
    SF_PLAN+=('start it')
  fi
  if consumers_run; then
    SF_PLAN+=('restart the consumers')
  fi
}

# Whether consumers run beside this very installation's service.
consumers_run() {
  under_systemd && [[ -n $(systemctl list-units --state=active,activating --plain --no-legend "$CONSUMERS") ]]
}

# Those that run follow the link `current`; one that fails does not hold up the service's way back.
restart_consumers() {
  if consumers_run; then
    say "systemctl try-restart '$CONSUMERS'"
    systemctl try-restart "$CONSUMERS" || say "WARNING: not all came back: journalctl -u '$CONSUMERS'"
  fi
}

# Whether the last change of the release that the ledger knows was a rollback to the previous one.
last_was_rollback() {
  local last
  last=$(cat "$SF_STATE/ledger.1.jsonl" "$SF_STATE/ledger.jsonl" 2>/dev/null |
    grep -E '"event": "release"|"event": "rollback".*"name": "rollback release' |
    grep -F '"outcome": "complete"' | tail -n 1) || true
  [[ $last == *'"event": "rollback"'* && $last != *'"name": "rollback release --undo"'* ]]
}

# works DIRECTORY: whether the release's own interpreter runs and finds Gunicorn.
works() {
  timeout 30 "$1/.venv/bin/python" -c 'import gunicorn' >/dev/null 2>&1
}

# link NAME TARGET: in one rename; without a target the link is taken away.
link() {
  local new=$SF_INSTALLATION/.$1.$$
  if [[ -z $2 ]]; then
    rm -f "$SF_INSTALLATION/$1"
  else
    rm -f "$new" && ln -s "$2" "$new" && mv -T "$new" "$SF_INSTALLATION/$1"
  fi
}

carry_out_release() {
  SF_REASON="$SF_INSTALLATION cannot be written"
  SF_CHANGED=yes
  link current "$SF_PREVIOUS" && link previous "$SF_CURRENT" || return
  SF_REASON=''
  if [[ -z $SF_MASTER ]]; then
    restart
  else
    reload || { [[ $SF_REASON == *'restart to upgrade the kit'* ]] && SF_REASON='' && restart; }
  fi || return
  restart_consumers
}

revert_release() {
  [[ -n $SF_CHANGED ]] || return 0
  link current "$SF_CURRENT" && link previous "$SF_PREVIOUS" || return
  if [[ -n $SF_RESTARTED && -n $SF_WAS_RUNNING ]]; then
    restart || return
  elif [[ -n $SF_RELOADED ]] && ! reload; then
    # What serves is the previous release all the same: the links say so.
    link current "$SF_PREVIOUS" && link previous "$SF_CURRENT"
    return 1
  fi
  restart_consumers
}
