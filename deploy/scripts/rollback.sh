#!/usr/bin/env bash
# Returns to something simpler or older when the release's Python does not run.
#
#   deploy/scripts/rollback.sh scale|fork|bare|release [--undo] [--why TEXT] [--dry-run] [--help]
#
#   scale    one worker                       fork     one worker, in fork mode
#   release  the previous release             bare     plain Gunicorn instead of the kit (systemd)
#
# The same as `smart-factory rollback`, with the same files, but without Python: the master that
# runs still has the good code in memory. --undo returns to what was before. Afterwards it checks
# processes, health, session and journal; when something fails, it puts back what was.
#
# Exit code: 0 done and validated, 1 failed, 2 wrong use, 4 failed and put back, 5 another
# operation runs, 6 cannot be done and nothing was changed, 130 interrupted and put back.
set -Eeuo pipefail

readonly SF_PROGRAM=rollback
SF_HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=deploy/scripts/common.sh
. "$SF_HERE/common.sh"
# shellcheck source=deploy/scripts/kept.sh
. "$SF_HERE/kept.sh"
# shellcheck source=deploy/scripts/validation.sh
. "$SF_HERE/validation.sh"
# shellcheck source=deploy/scripts/rollback_desired.sh
. "$SF_HERE/rollback_desired.sh"
# shellcheck source=deploy/scripts/rollback_release.sh
. "$SF_HERE/rollback_release.sh"
# shellcheck source=deploy/scripts/rollback_bare.sh
. "$SF_HERE/rollback_bare.sh"

readonly RELOAD_SECONDS=120 # for the outcome of one
SF_NAME='' SF_UNDO='' SF_WHY=''
# Why a step failed, and what to do then.
SF_REASON='' SF_NEXT_STEP=''
# The steps in words; how it was; and how far the change has come: what there is to put back.
SF_PLAN=() SF_WAS_RUNNING='' SF_FORMER_WANTED=''
SF_CHANGED='' SF_RELOADED='' SF_RESTARTED=''

# --- asking the master

# A rolling reload, and its outcome as the master writes it into the ledger.
reload() {
  local id line
  id=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
  line=$(printf '{"id": "%s", "operation": "reload", "who": %s, "why": %s, "force": false, "at": %s}' \
    "$id" "$(json_text "$(who)")" "$(json_text "rollback $SF_NAME${SF_UNDO:+ --undo}${SF_WHY:+: $SF_WHY}")" "$(now)")
  if ! replace "$SF_RUNTIME/request.json" "$line" || ! kill -HUP "$SF_MASTER"; then
    rm -f "$SF_RUNTIME/request.json" # or the next HUP would be taken for ours
    SF_REASON="the master, pid $SF_MASTER, cannot be asked for a reload"
    return 1
  fi
  say "the master, pid $SF_MASTER, reloads; waiting for the outcome"
  SF_RELOADED=yes # until it is known to be refused
  within "$RELOAD_SECONDS" outcome_or_end "$id" || true
  line=$(outcome "$id")
  if [[ $line == *'"outcome": "complete"'* ]]; then
    return 0
  elif [[ -n $line ]]; then
    SF_RELOADED=''
    SF_REASON="the reload was refused: $(ledger_member "$line" reason)"
    SF_NEXT_STEP='mend what failed, or return to the previous release: rollback.sh release'
  elif ! master_runs; then
    SF_REASON="the master, pid $SF_MASTER, went away during the reload"
  else
    SF_REASON="waited $RELOAD_SECONDS s for the outcome of the reload"
  fi
  return 1
}

outcome() {
  grep -hsF "\"request\": \"$1\"" "$SF_STATE/ledger.1.jsonl" "$SF_STATE/ledger.jsonl" |
    grep -E '"outcome": "(complete|refused)"' | tail -n 1 || true
}

outcome_or_end() {
  [[ -n $(outcome "$1") ]] || ! master_runs
}

# Has the master look at desired.json; any signal wakes its loop, this one does no more.
wake() {
  local wanted
  wanted=$(board_number "$BOARD_WANTED")
  if ! kill -CHLD "$SF_MASTER"; then
    SF_REASON="the master, pid $SF_MASTER, cannot be signalled"
    return 1
  fi
  # Only the master knows how many `max` or the environment's number makes: perhaps as many.
  within 2 wants_other "$wanted" || true
}

wants_other() {
  [[ $(board_number "$BOARD_WANTED") != "$1" ]]
}

# Starts what the link `current` leads to by now; SF_MASTER is the new one then.
restart() {
  SF_RESTARTED=yes
  if under_systemd; then
    say 'systemctl restart smart-factory'
    systemctl restart smart-factory.service || SF_REASON='systemctl restart smart-factory failed'
  elif master_runs; then
    SF_REASON='the master has to be restarted to upgrade the kit'
    SF_NEXT_STEP='stop.sh, then start.sh: that interrupts the service for some seconds'
    SF_RESTARTED=''
  else
    "$SF_HERE/start.sh" 9>&- || SF_REASON='start.sh failed' # the service must not hold our lock
  fi
  look_for_master
  [[ -z $SF_REASON ]]
}

# --- one operation, from the lock to its outcome

need_installation() {
  [[ -n $SF_INSTALLATION ]] ||
    fail 1 "no installation in ${SMART_FACTORY_ROOT:-/opt/smart-factory} (SMART_FACTORY_ROOT)"
}

# kind FUNCTION: the one for this rollback.
kind() {
  case $SF_NAME in
    scale | fork) "$1_desired" ;;
    *) "$1_$SF_NAME" ;;
  esac
}

expected_workers() {
  if [[ $SF_NAME == bare ]]; then
    [[ -n $SF_UNDO ]] || echo 0
  elif [[ $SF_NAME == release || -n $SF_UNDO ]]; then
    echo ''
  else
    echo 1
  fi
}

# finish OUTCOME REASON: into the ledger.
finish() {
  local more
  more=$(printf ', "name": %s, "reason": %s, "checks": [%s], "seconds": %d' \
    "$(json_text "rollback $SF_NAME${SF_UNDO:+ --undo}")" "$(json_text "$2")" "$SF_CHECKS" "$SECONDS")
  record rollback "$1" "$SF_WHY" "$more"
}

# Puts back what was, and ends: with the code when that serves again, with 1 when it does not.
put_back() {
  local code=$1 reason=$2 next=$SF_NEXT_STEP checks=$SF_CHECKS
  trap : INT TERM HUP # not ignored: what is started now would ignore them, too
  printf '%s: %s: putting back what was\n' "$SF_PROGRAM" "$reason" >&2
  mark_journal
  SF_REASON=''
  if kind revert && { [[ -z $SF_WAS_RUNNING ]] || validate "$SF_FORMER_WANTED"; }; then
    SF_CHECKS=$checks
    finish 'rolled back' "$reason"
    fail "$code" "$SF_NAME${SF_UNDO:+ --undo} failed: $reason. The former state is back" "$next"
  fi
  finish failed "$reason; not put back: ${SF_REASON:-$SF_BROKEN}"
  fail 1 "$SF_NAME${SF_UNDO:+ --undo} FAILED ($reason), AND WHAT WAS COULD NOT BE PUT BACK: ${SF_REASON:-$SF_BROKEN}" \
    "look at: stop.sh --dry-run, journalctl -u smart-factory, $SF_STATE/ledger.jsonl"
}

operate() {
  take_lock "rollback $SF_NAME${SF_UNDO:+ --undo}"
  trap 'drop_lock || true' EXIT
  look_for_master
  kind plan
  SF_WAS_RUNNING=$SF_MASTER
  if board_speaks; then
    SF_FORMER_WANTED=$(board_number "$BOARD_WANTED")
  fi
  [[ -z $SF_STALE ]] || say "$SF_STALE: not running"
  if under_systemd; then
    SF_UNIT=smart-factory.service
  fi
  open_witness
  trap 'put_back 130 interrupted' INT TERM HUP
  kind carry_out || put_back 4 "${SF_REASON:-a step failed}"
  if [[ $SF_NAME != bare && -z $SF_MASTER ]]; then
    say 'smart-factory is not running: this is kept for its next start'
  else
    validate "$(expected_workers)" || put_back 4 "$SF_BROKEN"
    close_witness
  fi
  trap - INT TERM HUP
  if [[ -n $SF_UNDO ]]; then
    rm -f "$SF_STATE/desired.before-$SF_NAME.json"
  fi
  finish complete ''
  say "$SF_NAME${SF_UNDO:+ --undo}: done$([[ -n $SF_UNDO ]] || echo "; back with: rollback.sh $SF_NAME --undo")"
}

main() {
  local dry_run=''
  while (($#)); do
    case $1 in
      -h | --help)
        help
        return
        ;;
      --undo) SF_UNDO=yes ;;
      --dry-run) dry_run=yes ;;
      --why)
        (($# > 1)) || fail 2 '--why: expected a text'
        SF_WHY=$2
        shift
        ;;
      scale | fork | bare | release)
        [[ -z $SF_NAME ]] || fail 2 "unexpected argument '$1': one of scale, fork, bare, release at a time"
        SF_NAME=$1
        ;;
      *)
        fail 2 "unexpected argument '$1': allowed are scale, fork, bare or release, and --undo, --why TEXT, --dry-run"
        ;;
    esac
    shift
  done
  [[ -n $SF_NAME ]] || fail 2 'what to return to is missing: expected scale, fork, bare or release'
  locate
  if [[ -n $dry_run ]]; then
    look_for_master
    kind plan
    printf 'would: %s\n' "${SF_PLAN[@]}"
    return
  fi
  operate
}

main "$@"
