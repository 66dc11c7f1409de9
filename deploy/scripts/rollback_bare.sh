# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# `rollback.sh bare`: plain Gunicorn in place of the kit, at the same systemd socket.
#
# Sourced by rollback.sh, not run. Both services accept at the socket, so that the one is started
# before the other is stopped, and no connection is refused in between.

readonly SF_CLUSTER=smart-factory.service SF_PLAIN=smart-factory-bare.service
SF_BARE_TARGET='' SF_BARE_FORMER='' SF_CLUSTER_WAS='' SF_CLUSTER_ENABLED='' SF_PLAIN_ENABLED=''

plan_bare() {
  systemd_runs ||
    fail 2 'bare needs systemd, which does not run here' \
      'stop.sh, then start plain Gunicorn yourself; or: rollback.sh fork, rollback.sh release'
  need_installation
  [[ $(systemctl show --value -p LoadState "$SF_PLAIN") == loaded ]] ||
    fail 1 "$SF_PLAIN is not installed" 'install it with: sudo deploy/scripts/install.sh'
  SF_CLUSTER_WAS=$(state_of is-active "$SF_CLUSTER") SF_CLUSTER_ENABLED=$(state_of is-enabled "$SF_CLUSTER")
  SF_PLAIN_ENABLED=$(state_of is-enabled "$SF_PLAIN")
  SF_BARE_FORMER=$(readlink "$SF_INSTALLATION/bare") || SF_BARE_FORMER=''
  if [[ -n $SF_UNDO ]]; then
    [[ $(state_of is-active "$SF_PLAIN") == active ]] || fail 1 "nothing to undo: $SF_PLAIN does not run"
    SF_PLAN=("systemctl start $SF_CLUSTER" "systemctl stop $SF_PLAIN" "systemctl enable $SF_CLUSTER, disable $SF_PLAIN")
    return
  fi
  if [[ $(state_of is-active "$SF_PLAIN") == active && $SF_CLUSTER_WAS != active ]]; then
    fail 1 "$SF_PLAIN runs already, and $SF_CLUSTER does not" 'back with: rollback.sh bare --undo'
  fi
  SF_BARE_TARGET=$(release_for_bare) ||
    fail 6 "no release in $SF_INSTALLATION/releases has a Python that runs" 'build one: smart-factory release'
  SF_PLAN=("point $SF_INSTALLATION/bare to $SF_BARE_TARGET" "systemctl start $SF_PLAIN, and wait for its health"
    "systemctl stop $SF_CLUSTER" "systemctl enable $SF_PLAIN, disable $SF_CLUSTER")
}

# state_of is-active|is-enabled UNIT: the word, whatever the exit code.
state_of() {
  systemctl "$1" "$2" 2>/dev/null || true
}

# The current release, the previous one, else the newest that has lived: the first that runs.
release_for_bare() {
  local each
  for each in "$(readlink "$SF_INSTALLATION/current")" "$(readlink "$SF_INSTALLATION/previous")" \
    $(cd "$SF_INSTALLATION" && printf '%s\n' releases/*/LIVED | sort -r | sed 's|/LIVED$||'); do
    if [[ -n $each ]] && works "$(absolute "$each")"; then
      printf '%s\n' "$each"
      return
    fi
  done
  return 1
}

absolute() {
  if [[ $1 == /* ]]; then
    printf '%s\n' "$1"
  else
    printf '%s\n' "$SF_INSTALLATION/$1"
  fi
}

carry_out_bare() {
  if [[ -n $SF_UNDO ]]; then
    # Set before it is tried: a service that fails to start is tried again for ever.
    SF_CHANGED=yes
    bring_up "$SF_CLUSTER" || return # returns when every worker is ready
    look_for_master
    SF_UNIT=$SF_CLUSTER
    bring_down "$SF_PLAIN" && boot_with "$SF_CLUSTER" "$SF_PLAIN"
    return
  fi
  SF_UNIT=$SF_PLAIN
  SF_REASON="$SF_INSTALLATION cannot be written"
  SF_CHANGED=yes
  link bare "$SF_BARE_TARGET" || return
  SF_REASON=''
  bring_up "$SF_PLAIN" || return
  if ! within 30 plain_answers; then
    SF_REASON="$SF_PLAIN was started, but its worker did not answer /health within 30 s"
    return 1
  fi
  bring_down "$SF_CLUSTER" && boot_with "$SF_PLAIN" "$SF_CLUSTER"
}

revert_bare() {
  [[ -n $SF_CHANGED ]] || return 0
  if [[ -n $SF_UNDO ]]; then
    SF_MASTER='' SF_FORMER_WANTED=0 SF_UNIT=$SF_PLAIN SF_WAS_RUNNING=yes
    bring_up "$SF_PLAIN" && bring_down "$SF_CLUSTER" && boot_with "$SF_PLAIN" "$SF_CLUSTER"
    return
  fi
  SF_UNIT=$SF_CLUSTER
  if [[ $SF_CLUSTER_WAS == active ]]; then
    bring_up "$SF_CLUSTER" || return
    look_for_master
  fi
  bring_down "$SF_PLAIN" || return
  [[ $SF_CLUSTER_ENABLED != enabled ]] || systemctl --quiet enable "$SF_CLUSTER" || return
  [[ $SF_PLAIN_ENABLED == enabled ]] || systemctl --quiet disable "$SF_PLAIN" || return
  link bare "$SF_BARE_FORMER"
}

bring_up() {
  say "systemctl start $1"
  systemctl start "$1" || { SF_REASON="systemctl start $1 failed" && return 1; }
}

bring_down() {
  say "systemctl stop $1"
  systemctl stop "$1" || { SF_REASON="systemctl stop $1 failed" && return 1; }
}

# boot_with UNIT NOT_UNIT: so that a reboot comes back the same.
boot_with() {
  SF_REASON="systemctl enable $1, disable $2 failed"
  systemctl --quiet enable "$1" || return
  systemctl --quiet disable "$2" || return
  SF_REASON=''
}

# Whether the plain service's own worker answers, and not one of the cluster's beside it. Only our
# application says which process it is; of another the process must do.
plain_answers() {
  local main workers
  main=$(systemctl show --value -p MainPID "$SF_PLAIN")
  workers=$(children "$main")
  [[ $main != 0 && -n $workers ]] || return 1
  find_address
  [[ -z $SF_UNREACHABLE ]] || return 0
  ask GET /health
  if [[ $SF_STATUS == 200 && $SF_BODY =~ \"pid\":\ *([0-9]+) ]]; then
    grep -qxF "${BASH_REMATCH[1]}" <<<"$workers"
  else
    [[ $SF_STATUS == [1-4]* && $SF_STATUS != 000 ]]
  fi
}
