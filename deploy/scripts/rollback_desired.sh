# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# `rollback.sh scale` and `fork`: what is desired, kept for the way back in desired.before-NAME.json.
#
# Sourced by rollback.sh, not run.

# desired.json as it was, and its mode; whether the copy of it is this operation's; whether the
# master has to reload for the change, or follows by itself.
SF_FORMER='' SF_FORMER_MODE='' SF_KEPT='' SF_BY_RELOAD=''

plan_desired() {
  local before=$SF_STATE/desired.before-$SF_NAME.json
  read_desired "$SF_STATE/desired.json"
  SF_FORMER=$SF_DESIRED SF_FORMER_MODE=$SF_DESIRED_MODE
  if [[ -n $SF_UNDO ]]; then
    [[ -e $before ]] || fail 1 "nothing to undo: there is no $before"
    read_desired "$before"
    SF_PLAN=("put back $SF_STATE/desired.json as it was: mode $SF_DESIRED_MODE, workers $SF_DESIRED_WORKERS")
  elif [[ $SF_NAME == scale ]]; then
    SF_DESIRED_WORKERS=1
    SF_PLAN=("keep desired.json as $before, unless it is kept already" "write workers 1 into $SF_STATE/desired.json")
  else
    SF_DESIRED_MODE='"fork"'
    SF_PLAN=("keep desired.json as $before, unless it is kept already" "write mode fork into $SF_STATE/desired.json")
  fi
  if mode_changes; then
    SF_BY_RELOAD=yes
  fi
  if [[ -z $SF_MASTER ]]; then
    SF_PLAN+=('nothing else: it does not run, its next start will follow')
  elif [[ -n $SF_BY_RELOAD ]]; then
    SF_PLAN+=("have the master, pid $SF_MASTER, reload")
  else
    SF_PLAN+=("wake the master, pid $SF_MASTER, which follows by itself")
  fi
}

# Whether another mode will run; without one that was asked for, only the environment knows.
mode_changes() {
  if [[ $SF_DESIRED_MODE == null ]]; then
    [[ $SF_FORMER_MODE != null ]]
  elif board_speaks; then
    [[ $SF_DESIRED_MODE != "\"$(board_text "$BOARD_MODE" 16)\"" ]]
  else
    [[ $SF_DESIRED_MODE != "$SF_FORMER_MODE" ]]
  fi
}

carry_out_desired() {
  local before=$SF_STATE/desired.before-$SF_NAME.json nothing='{}'
  SF_REASON="$SF_STATE cannot be written"
  if [[ -n $SF_UNDO ]]; then
    SF_CHANGED=yes
    put_desired "${SF_DESIRED#"$nothing"}" || return
  else
    if [[ ! -e $before ]]; then
      SF_KEPT=yes
      replace "$before" "${SF_FORMER:-$nothing}" || return
    fi
    SF_CHANGED=yes
    write_desired "$SF_DESIRED_MODE" "$SF_DESIRED_WORKERS" || return
  fi
  SF_REASON=''
  if [[ -n $SF_MASTER && -n $SF_BY_RELOAD ]]; then
    reload
  elif [[ -n $SF_MASTER ]]; then
    wake
  fi
}

revert_desired() {
  local again=$SF_RELOADED # before a reload of the way back sets it
  if [[ -n $SF_CHANGED ]]; then
    put_desired "$SF_FORMER" || return
  fi
  [[ -z $SF_KEPT ]] || rm -f "$SF_STATE/desired.before-$SF_NAME.json"
  if ! master_runs; then
    [[ -z $SF_WAS_RUNNING ]] || { SF_REASON='the master is gone' && return 1; }
  elif [[ -n $again ]]; then
    reload
  else
    wake
  fi
}
