# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for who sources it
# What is kept in STATE_DIRECTORY, as deploy/state writes it: the lock, the ledger, what is desired.
#
# Sourced after common.sh, not run.

# What desired.json says, as JSON; SF_DESIRED is the whole line, empty without a file.
SF_DESIRED='' SF_DESIRED_MODE=null SF_DESIRED_WORKERS=null

who() {
  printf '%s\n' "${SUDO_USER:-$(id -un 2>/dev/null || printf 'uid %s' "$EUID")}"
}

# Unix time, with a point whatever the locale's is.
now() {
  printf '%s\n' "${EPOCHREALTIME/,/.}"
}

# json_text TEXT: as a JSON string, in one line.
json_text() {
  local text=${1//[[:cntrl:]]/ } backslash=$'\\' quote='"'
  text=${text//"$backslash"/"$backslash$backslash"}
  text=${text//"$quote"/"$backslash$quote"}
  printf '"%s"' "$text"
}

# What root creates, the service, under its own user, must be able to use.
give_to_owner() {
  if ((EUID == 0)); then
    chown --reference="$(dirname "$1")" "$1"
  fi
}

# replace FILE LINE: so that a reader, and a crash, finds the old or the new.
replace() {
  local new
  new=$(dirname "$1")/.$(basename "$1").$$
  { printf '%s\n' "$2" >"$new" && chmod 644 "$new" && give_to_owner "$new" && sync "$new" && mv -T "$new" "$1"; } ||
    { rm -f "$new" && return 1; }
}

# --- one operation at a time

# Holds the operators' lock until the end of this process; exit 5 when another one does.
take_lock() {
  local file=$SF_STATE/operation.lock next='run it as root or as the user that the service runs as'
  mkdir -p "$SF_STATE" 2>/dev/null || fail 1 "cannot make STATE_DIRECTORY='$SF_STATE'" "$next"
  [[ ! -L $file ]] || fail 1 "$file is a link: expected a file" 'remove it'
  { exec 9<>"$file"; } 2>/dev/null || fail 1 "cannot write to $SF_STATE" "$next"
  give_to_owner "$file"
  flock --nonblock 9 ||
    fail 5 "another operation is running: $(lock_holder "$file")" 'wait until it has ended, then try again'
  printf '{"pid": %d, "operation": %s, "since": %s}\n' \
    "$$" "$(json_text "$1")" "$(now)" >"$file"
}

drop_lock() {
  : >"$SF_STATE/operation.lock"
  exec 9>&-
}

lock_holder() {
  local held
  held=$(cat "$1")
  if [[ $held =~ ^\{\"pid\":\ ([0-9]+),\ \"operation\":\ \"(.*)\",\ \"since\":\ ([0-9]+) ]]; then
    printf "'%s' (pid %s) since %s\n" \
      "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" "$(date -d "@${BASH_REMATCH[3]}" '+%F %T%:z')"
  else
    echo 'it has not yet said which'
  fi
}

# --- the ledger

# record EVENT OUTCOME WHY MORE: one line; MORE are further members, with their leading comma.
record() {
  local file=$SF_STATE/ledger.jsonl before='' line
  printf -v line '{"at": "%s", "event": %s, "outcome": %s, "who": %s, "why": %s%s}' \
    "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$(json_text "$1")" "$(json_text "$2")" \
    "$(json_text "$(who)")" "$(json_text "${3:0:500}")" "$4"
  if [[ -s $file && -n $(tail -c 1 "$file") ]]; then
    before=$'\n' # a torn line is left alone; the next begins below it
  fi
  # By another process, which writes it as a whole: bash itself may write in parts.
  { printf '%s%s\n' "$before" "$line" | dd of="$file" oflag=append conv=notrunc bs=1M iflag=fullblock status=none &&
    give_to_owner "$file"; } || say "the ledger $file cannot be written"
}

# ledger_member LINE NAME: a string's value in a line of the ledger, with its escapes.
ledger_member() {
  sed -n "s/.*\"$2\": \"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p" <<<"$1"
}

# --- what is desired

# read_desired FILE: sets SF_DESIRED…; exit 1 when it is not as the kit writes it.
read_desired() {
  local file=$1 number='[0-9][0-9.e+]*' text='"([^"\\]|\\.)*"' mode
  SF_DESIRED='' SF_DESIRED_MODE=null SF_DESIRED_WORKERS=null
  [[ -e $file ]] || return 0
  SF_DESIRED=$(cat "$file") || fail 1 "$file cannot be read" 'run it as root'
  [[ $SF_DESIRED != '{}' ]] || return 0
  mode='\{"mode": (null|"cluster"|"fork"), "workers": (null|"max"|[1-9][0-9]*)'
  [[ $SF_DESIRED =~ ^$mode,\ \"by\":\ $text,\ \"at\":\ $number\}$ ]] ||
    fail 1 "$file: expected one line as smart-factory writes it" 'mend or remove the file, then try again'
  SF_DESIRED_MODE=${BASH_REMATCH[1]} SF_DESIRED_WORKERS=${BASH_REMATCH[2]}
}

# write_desired MODE WORKERS, both as JSON.
write_desired() {
  replace "$SF_STATE/desired.json" "$(printf '{"mode": %s, "workers": %s, "by": %s, "at": %s}' \
    "$1" "$2" "$(json_text "$(who)")" "$(now)")"
}

# put_desired LINE: as it was before; empty for no file.
put_desired() {
  if [[ -z $1 ]]; then
    rm -f "$SF_STATE/desired.json"
  else
    replace "$SF_STATE/desired.json" "$1"
  fi
}
