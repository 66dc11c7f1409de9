# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# What start.sh, stop.sh and rollback.sh share: directories, settings, and the running master.
#
# Sourced, not run. It needs bash, coreutils, util-linux, sed, grep and awk, and nothing of a
# release: it is for the hour in which the release's Python does not run. SF_PROGRAM is the script's
# name in its messages. The prefix keeps our variables apart from an application's environment,
# which start.sh hands on.

# ROOT/releases, or empty; the tree that is served; where the master keeps its files.
SF_INSTALLATION='' SF_TREE='' SF_RUNTIME='' SF_STATE='' SF_LOGS='' SF_ENVIRONMENT=''
# The running master's pid and start, or empty; why a pid file that is there says nothing.
SF_MASTER='' SF_MASTER_START='' SF_STALE=''

# The scoreboard's header; a test compares these with deploy/state/layout.py.
readonly BOARD_VERSION=2 BOARD_PID=24 BOARD_START=32 BOARD_WANTED=48 BOARD_MODE=64 BOARD_ADDRESS=208
readonly BOARD_ROWS=2590720 BOARD_ROW=192 BOARD_ROWS_BYTES=196608 BOARD_READY=2

say() {
  printf '%s: %s\n' "$SF_PROGRAM" "$*"
}

# fail CODE MESSAGE [NEXT STEP]
fail() {
  printf '%s: %s\n' "$SF_PROGRAM" "$2" >&2
  [[ -z ${3:-} ]] || printf 'Next step: %s\n' "$3" >&2
  exit "$1"
}

# The comment at the head of the script that runs.
help() {
  sed -n '2,/^set /s/^#\( \|$\)//p' "$0"
}

# step WHAT COMMAND…: does it, or, with SF_DRY_RUN, only says so.
step() {
  local what=$1
  shift
  if [[ -n ${SF_DRY_RUN:-} ]]; then
    say "would: $what"
  else
    say "$what"
    "$@"
  fi
}

# within SECONDS COMMAND…: whether the command becomes true in that time.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# --- directories and settings

# Where everything is, by SMART_FACTORY_ROOT, RUNTIME_DIRECTORY, STATE_DIRECTORY and LOG_DIRECTORY,
# else as installed, else beside the tree that this script lies in.
locate() {
  local root=${SMART_FACTORY_ROOT:-/opt/smart-factory} runtime=var/run state=var/state logs=var/log
  if [[ -d $root/releases ]]; then
    SF_INSTALLATION=$(cd "$root" && pwd)
    SF_TREE=$SF_INSTALLATION/current
    runtime=/run/smart-factory state=/var/lib/smart-factory logs=/var/log/smart-factory
    SF_ENVIRONMENT=/etc/smart-factory/smart-factory.env
  elif [[ -n ${SMART_FACTORY_ROOT:-} ]]; then
    fail 2 "SMART_FACTORY_ROOT='$root': expected a directory with releases/ in it"
  else
    SF_TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
    SF_ENVIRONMENT=$SF_TREE/.env
  fi
  SF_ENVIRONMENT=${ENV_FILE:-$SF_ENVIRONMENT}
  SF_RUNTIME=$(directory RUNTIME_DIRECTORY "$runtime")
  SF_STATE=$(directory STATE_DIRECTORY "$state")
  SF_LOGS=$(directory LOG_DIRECTORY "$logs")
}

# directory NAME DEFAULT: a relative one is beside the tree, as the master takes it.
directory() {
  local path
  path=$(setting "$1" "$2")
  path=${path%%:*} # systemd joins several with colons; the first is ours
  [[ $path == /* ]] || path=$SF_TREE/$path
  printf '%s\n' "$path"
}

# setting NAME DEFAULT: the environment's value, else the last one in the file of ENV_FILE.
setting() {
  local value=${!1:-}
  if [[ -z $value && -r $SF_ENVIRONMENT ]]; then
    value=$(sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}$1[[:space:]]*=[[:space:]]*//p" \
      "$SF_ENVIRONMENT" | tail -n 1)
    case $value in
      \'*\'*) value=${value#\'} value=${value%%\'*} ;;
      \"*\"*) value=${value#\"} value=${value%%\"*} ;;
      *) value=$(sed 's/[[:space:]]\{1,\}#.*//; s/[[:space:]]*$//' <<<"$value") ;;
    esac
  fi
  printf '%s\n' "${value:-$2}"
}

# seconds NAME DEFAULT: the setting as whole seconds.
seconds() {
  local value unit=1
  value=$(setting "$1" "$2")
  [[ $value =~ ^([0-9]{1,6})([smhdSMHD]?)$ ]] ||
    fail 2 "$1='$value': expected seconds, as 30, 30s, 5m, 12h or 1d"
  case ${BASH_REMATCH[2],,} in
    m) unit=60 ;;
    h) unit=3600 ;;
    d) unit=86400 ;;
  esac
  printf '%d\n' "$((10#${BASH_REMATCH[1]} * unit))"
}

# --- processes

# When a process started, in clock ticks after boot (proc_pid_stat(5), field 22); fails when it is
# gone. The second field, the name, may hold spaces and brackets.
start_of() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != [ZX] ]] || return 1
  printf '%s\n' "${fields[19]}"
}

# alive PID START: pids are used again, a pid with its start is not.
alive() {
  [[ $(start_of "$1") == "$2" ]]
}

gone() {
  ! alive "$@"
}

# A process's title, as setproctitle wrote it.
title_of() {
  local title=''
  { IFS= read -r -d '' title <"/proc/$1/cmdline"; } 2>/dev/null || true
  printf '%s\n' "$title"
}

# Unix time at which a process started, from its ticks.
unix_time() {
  local boot ticks
  boot=$(sed -n 's/^btime //p' /proc/stat)
  ticks=$(getconf CLK_TCK 2>/dev/null || echo 100)
  printf '%d\n' "$((boot + $1 / ticks))"
}

# Sets SF_MASTER and SF_MASTER_START, or leaves them empty. The process that the pid file names is
# only believed to be the master when it says so in its title, and was there before the file was.
look_for_master() {
  local file=$SF_RUNTIME/gunicorn.pid pid start title
  SF_MASTER='' SF_MASTER_START='' SF_STALE=''
  pid=$(cat "$file" 2>/dev/null) || return 0
  if [[ ! $pid =~ ^[1-9][0-9]{0,9}$ ]]; then
    SF_STALE="$file does not hold a pid"
    return
  fi
  if ! start=$(start_of "$pid"); then
    SF_STALE="$file names pid $pid, which is gone"
    return
  fi
  title=$(title_of "$pid")
  if [[ $title != 'gunicorn: master ['* ]]; then
    SF_STALE="$file names pid $pid, which is another process (${title:0:60})"
  elif [[ $(board_number "$BOARD_PID") == "$pid" ]]; then
    [[ $(board_number "$BOARD_START") == "$start" ]] ||
      SF_STALE="$file names pid $pid, which is another master than the one of the scoreboard"
  elif (($(unix_time "$start") > $(stat -c %Y "$file") + 2)); then # both are rounded
    SF_STALE="$file names pid $pid, which started after the file was written"
  fi
  [[ -n $SF_STALE ]] || SF_MASTER=$pid SF_MASTER_START=$start
}

master_runs() {
  [[ -n $SF_MASTER ]] && alive "$SF_MASTER" "$SF_MASTER_START"
}

# children PID: the pids of a process's children.
children() {
  local file
  while IFS= read -r file; do
    file=${file#/proc/}
    printf '%s\n' "${file%/status}"
  done < <(grep -lsE "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status)
}

# workers PID: a line for each worker of a master: pid, name, generation.
workers() {
  local pid title
  for pid in $(children "$1"); do
    title=$(title_of "$pid")
    if [[ $title =~ ^'gunicorn: '(worker-[1-9][0-9]*)' gen '([0-9]+) ]]; then
      printf '%s %s %s\n' "$pid" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    fi
  done
}

# --- the scoreboard, as far as a shell can read it

# board_number OFFSET: nothing when there is no board, or one of another version.
board_number() {
  local board=$SF_RUNTIME/scoreboard
  [[ -r $board && $(board_text 0 8) == SFBOARD ]] || return 0
  [[ $(od -An -v -tu4 -j8 -N4 "$board") -eq $BOARD_VERSION ]] || return 0
  od -An -v -tu8 -j"$1" -N8 "$board" | tr -d ' '
}

# board_text OFFSET SIZE
board_text() {
  dd if="$SF_RUNTIME/scoreboard" bs=1 skip="$1" count="$2" status=none 2>/dev/null | tr -d '\0'
}

# Whether there is a board that is SF_MASTER's own.
board_speaks() {
  [[ -n $SF_MASTER && $(board_number "$BOARD_PID") == "$SF_MASTER" ]]
}

# How many of the wanted slots have a ready worker.
board_ready() {
  od -An -v -tu4 -w"$BOARD_ROW" -j"$BOARD_ROWS" -N"$BOARD_ROWS_BYTES" "$SF_RUNTIME/scoreboard" |
    awk -v wanted="$(board_number "$BOARD_WANTED")" -v ready="$BOARD_READY" \
      '$1 == ready && $2 >= 1 && $2 <= wanted && !($2 in seen) { seen[$2]; count++ } END { print count + 0 }'
}

# --- systemd

systemd_runs() {
  [[ -d /run/systemd/system ]] && command -v systemctl >/dev/null
}

# Whether systemd runs here and has the service of this very installation.
under_systemd() {
  [[ -n $SF_INSTALLATION ]] && systemd_runs || return 1
  [[ $(systemctl show --value -p WorkingDirectory smart-factory.service 2>/dev/null) == "$SF_INSTALLATION"/* ]]
}
