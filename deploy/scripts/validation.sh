# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# Whether the service serves as it should, without its Python: processes, health, session, journal.
#
# Sourced after common.sh, not run.

# What the last validation found: JSON members for the ledger, and the first failure.
SF_CHECKS='' SF_BROKEN=''
# The last answer over HTTP.
SF_STATUS='' SF_WORKER='' SF_COOKIE='' SF_BODY='' SF_ANSWERED=''
# The service: a TCP address, or empty with the reason; its systemd unit, or empty.
SF_HOST='' SF_PORT='' SF_UNREACHABLE='' SF_UNIT=''
# What a visitor was given before the change, and where the unit's journal ended then.
SF_SESSION='' SF_TOKEN='' SF_CURSOR=''
# Workers as `pid name generation`, and how many there should be.
SF_PRESENT=() SF_WANTED=''

# verdict WORD NAME DETAIL: ok, FAILED, or - for what cannot be asked here.
verdict() {
  printf '%-6s %-20s %s\n' "$1" "$2" "$3"
  [[ $1 != - ]] || return 0
  local passed=true
  if [[ $1 == FAILED ]]; then
    passed=false SF_BROKEN=${SF_BROKEN:-"$2: $3"}
  fi
  SF_CHECKS+="${SF_CHECKS:+, }{\"name\": \"$2\", \"ok\": $passed, \"detail\": $(json_text "$3")}"
}

# Sets SF_HOST and SF_PORT from the running master, from the socket unit, or from BIND, HOST, PORT.
find_address() {
  local addresses='' each
  SF_HOST='' SF_PORT='' SF_UNREACHABLE='it listens at no TCP address, and a shell cannot ask a Unix socket'
  if board_speaks; then
    addresses=$(board_text "$BOARD_ADDRESS" 240)
  elif under_systemd; then
    addresses=$(systemctl show --value -p Listen smart-factory.socket | sed -n 's/ (Stream)$//p' | tr '\n' ',')
  fi
  [[ -n $addresses ]] ||
    addresses=$(setting BIND "$(setting HOST 127.0.0.1):$(setting PORT 3000)")
  for each in ${addresses//,/ }; do
    if [[ $each =~ ^(.*):([0-9]+)$ && $each != unix:* ]]; then
      SF_HOST=${BASH_REMATCH[1]} SF_PORT=${BASH_REMATCH[2]} SF_UNREACHABLE=''
      case $SF_HOST in
        '[::]' | '') SF_HOST=::1 ;;
        0.0.0.0) SF_HOST=127.0.0.1 ;;
        \[*) SF_HOST=${SF_HOST:1:-1} ;;
      esac
      return
    fi
  done
}

# ask METHOD PATH [COOKIE] [JSON]: one request on a connection of its own; SF_STATUS 000: none.
ask() {
  local request head answer host=$SF_HOST
  [[ $SF_HOST != *:* ]] || host="[$SF_HOST]"
  SF_STATUS=000 SF_WORKER='' SF_COOKIE='' SF_BODY=''
  printf -v request '%s %s HTTP/1.1\r\nHost: %s:%s\r\nUser-Agent: smart-factory-rollback\r\nConnection: close\r\n' \
    "$1" "$2" "$host" "$SF_PORT"
  [[ -z ${3:-} ]] || request+="Cookie: $3"$'\r\n'
  [[ -z ${4:-} ]] || request+="Content-Type: application/json"$'\r\n'"Content-Length: ${#4}"$'\r\n'
  request+=$'\r\n'${4:-}
  # shellcheck disable=SC2016 # for the bash that is started
  answer=$(timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf %s "$3" >&3 && cat <&3' \
    _ "$SF_HOST" "$SF_PORT" "$request" 2>/dev/null | tr -d '\0\r') || return 0
  head=${answer%%$'\n\n'*}
  [[ $head =~ ^HTTP/1\.[01]\ ([1-5][0-9][0-9]) ]] || return 0
  SF_STATUS=${BASH_REMATCH[1]}
  SF_BODY=${answer#*$'\n\n'}
  SF_WORKER=$(header "$head" x-worker-id)
  SF_COOKIE=$(header "$head" set-cookie)
  SF_COOKIE=${SF_COOKIE%%;*}
}

# header HEAD NAME: the first one's value.
header() {
  local line
  while IFS= read -r line; do
    if [[ ${line,,} == "$2:"* ]]; then
      line=${line#*:}
      printf '%s\n' "${line# }"
      return
    fi
  done <<<"$1"
}

# --- before the change

# Opens a session, and notes where the journal ends.
open_witness() {
  SF_SESSION='' SF_TOKEN=rollback-$$-$RANDOM
  mark_journal
  find_address
  [[ -z $SF_UNREACHABLE ]] || return 0
  ask PATCH /api/preferences '' "{\"validation\": \"$SF_TOKEN\"}"
  if [[ $SF_STATUS == 200 ]]; then
    SF_SESSION=$SF_COOKIE
  fi
}

mark_journal() {
  SF_CURSOR=''
  if [[ -n $SF_UNIT ]]; then
    SF_CURSOR=$(journalctl --quiet --lines=0 --show-cursor 2>/dev/null | sed -n 's/^-- cursor: //p')
  fi
}

# --- after it

# validate WORKERS: so many are expected; empty: as many as the master wants, 0: the plain service.
validate() {
  SF_CHECKS='' SF_BROKEN=''
  check_processes "$1"
  find_address
  check_health "$1"
  check_session
  check_journal
  [[ -z $SF_BROKEN ]]
}

check_processes() {
  local limit
  limit=$(seconds GRACEFUL_TIMEOUT 10)
  if [[ $1 == 0 ]]; then
    check_plain
  elif ! master_runs; then
    verdict FAILED processes 'no master runs'
  elif within "$((limit + 30))" settled "$1"; then
    verdict ok processes "$SF_WANTED of $SF_WANTED workers ready, no other process of an older generation"
  else
    verdict FAILED processes "$(described "$1")"
  fi
}

# settled WORKERS: sets SF_PRESENT and SF_WANTED.
settled() {
  local expected=$1
  mapfile -t SF_PRESENT < <(workers "$SF_MASTER")
  SF_WANTED=${expected:-${#SF_PRESENT[@]}}
  if board_speaks; then
    SF_WANTED=$(board_number "$BOARD_WANTED")
    [[ $(board_ready) == "$SF_WANTED" ]] || return 1
  fi
  ((SF_WANTED > 0 && ${#SF_PRESENT[@]} == SF_WANTED)) && [[ -z $expected || $expected == "$SF_WANTED" ]] &&
    [[ $(printf '%s\n' "${SF_PRESENT[@]##* }" | sort -u | wc -l) == 1 ]] &&
    [[ $(worker_names | wc -l) == "$SF_WANTED" ]]
}

worker_names() {
  printf '%s\n' "${SF_PRESENT[@]}" | awk '{ print $2 }' | sort -u
}

# described WORKERS: why it is not settled.
described() {
  local generations text
  generations=$(printf '%s\n' "${SF_PRESENT[@]##* }" | sort -u | tr '\n' ' ')
  text="${#SF_PRESENT[@]} worker processes of generation ${generations}where ${1:-$SF_WANTED} are expected"
  if board_speaks; then
    text+="; $(board_ready) of $(board_number "$BOARD_WANTED") ready"
  fi
  printf '%s\n' "$text"
}

check_plain() {
  local main workers
  main=$(systemctl show --value -p MainPID smart-factory-bare.service)
  workers=$(children "$main" | wc -l)
  if [[ $main != 0 && $workers -ge 1 ]]; then
    verdict ok processes "one plain process (pid $main) with $workers worker"
  else
    verdict FAILED processes "smart-factory-bare.service has main pid $main and $workers workers"
  fi
}

# heard_all ANSWERS NAMES: whether every worker has answered; where answers name nobody, ten will do.
heard_all() {
  local -n heard=$1
  local name
  ((heard["nameless"] < 10)) || return 0
  for name in $2; do
    [[ -n ${heard[$name]:-} ]] || return 1
  done
}

# hear_all PATH COOKIE STATUSES TEXT: asks until each worker has answered with such a status and the
# text in its body; fails at the first other answer. Sets SF_ANSWERED to what there is to say of it.
hear_all() {
  local path=$1 cookie=$2 allowed=$3 text=$4 names deadline=$((SECONDS + 20))
  local -A answers=([nameless]=0)
  names=$([[ ${#SF_PRESENT[@]} -eq 0 ]] || worker_names | tr '\n' ' ')
  [[ -n $names ]] || names=worker-1
  until heard_all answers "$names"; do
    if ((SECONDS >= deadline)); then
      SF_ANSWERED="20 s of requests, and no answer from each of: $names"
      return 1
    fi
    ask GET "$path" "$cookie"
    if [[ ! $SF_STATUS =~ $allowed ]]; then
      SF_ANSWERED="GET $path: status $SF_STATUS${SF_WORKER:+ from $SF_WORKER}"
      [[ $SF_STATUS != 000 ]] || SF_ANSWERED="GET $path: no answer"
      return 1
    fi
    if [[ -n $text && $SF_BODY != *"$text"* ]]; then
      SF_ANSWERED="${SF_WORKER:-a worker} does not know the session opened before"
      return 1
    fi
    if [[ -n $SF_WORKER ]]; then
      answers[$SF_WORKER]=yes
    else
      answers[nameless]=$((answers[nameless] + 1))
    fi
  done
  if ((answers[nameless])); then
    SF_ANSWERED="10 answers, which do not say whose they are"
  else
    SF_ANSWERED="an answer from each of: ${names% }"
  fi
}

check_health() {
  if [[ -n $SF_UNREACHABLE ]]; then
    verdict - health "$SF_UNREACHABLE"
    return
  fi
  ask GET /health
  local path=/health allowed='^200$'
  if [[ $SF_STATUS == 404 ]]; then # an application that has none
    path=/ allowed='^[1-4]'
  fi
  if hear_all "$path" '' "$allowed" ''; then
    verdict ok health "GET $path: $SF_ANSWERED"
  else
    verdict FAILED health "$SF_ANSWERED"
  fi
}

check_session() {
  if [[ -z $SF_SESSION ]]; then
    verdict - session 'none could be opened before the change (PATCH /api/preferences)'
    return
  fi
  if hear_all /api/preferences "$SF_SESSION" '^200$' "$SF_TOKEN"; then
    verdict ok session "the one opened before: $SF_ANSWERED"
  else
    verdict FAILED session "$SF_ANSWERED"
  fi
}

# The session is of no use any more.
close_witness() {
  if [[ -n $SF_SESSION && -z $SF_UNREACHABLE ]]; then
    ask PATCH /api/preferences "$SF_SESSION" '{"validation": null}'
  fi
}

check_journal() {
  local errors=''
  if [[ -z $SF_UNIT || -z $SF_CURSOR ]]; then
    verdict - journal 'there is no journal of this service'
    return
  fi
  errors=$(
    journalctl --quiet --output=cat --unit="$SF_UNIT" --after-cursor="$SF_CURSOR" --priority=err
    journalctl --quiet --output=cat --unit="$SF_UNIT" --after-cursor="$SF_CURSOR" |
      grep -E '^\{.*"level": "(error|critical)"' || true
  ) || true
  if [[ -z $errors ]]; then
    verdict ok journal 'no new error'
  else
    verdict FAILED journal "$(wc -l <<<"$errors") new errors, the last: $(tail -n 1 <<<"$errors" | cut -c1-200)"
  fi
}
