#!/usr/bin/env bash
# Installs smart-factory on this machine, or brings an installation up to date. Run it as root.
#
#   sudo deploy/scripts/install.sh [--dry-run] [--uninstall [--purge]] [--help]
#
# It makes the system user, the first release with its virtual environment below /opt/smart-factory,
# /etc/smart-factory/smart-factory.env, credentials, the command smart-factory and the systemd units,
# and enables them. It starts nothing but new consumers beside a service that runs. Run again it
# changes what differs: the environment file, the credentials and the releases stay as they are.
# DATABASE_URL, CLUSTER_WORKERS, BIND, HOST, PORT, WSGI_APP, KAFKA_BROKERS, REDIS_URL and
# ADMIN_SERVICE_URL, given in its environment, go into a new environment file. PYTHON names the
# interpreter.
#
# Exit code: 0 done, 1 failed, 2 wrong use.
set -Eeuo pipefail

readonly SF_PROGRAM=install
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/scripts/common.sh
. "$HERE/common.sh"

readonly SOURCE=${HERE%/deploy/scripts} ROOT=/opt/smart-factory ETC=/etc/smart-factory
readonly UNITS=/etc/systemd/system OWNER=smart-factory OLDEST_SYSTEMD=252
readonly ENVIRONMENT_FILE=$ETC/smart-factory.env COMMAND=/usr/local/bin/smart-factory
readonly COMPLETION=/usr/share/bash-completion/completions/smart-factory
readonly CONSUMERS=(purchase allocation session cache)
SF_DRY_RUN='' PYTHON=${PYTHON:-python3}

already() {
  say "already so: $1"
}

# --- what the machine must have

check_machine() {
  local version
  ((EUID == 0)) || [[ -n $SF_DRY_RUN ]] || fail 2 'it has to be run by root: sudo deploy/scripts/install.sh'
  command -v systemctl >/dev/null ||
    fail 1 'this machine has no systemd' 'use deploy/scripts/start.sh; see docs/without-systemd.md'
  version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  ((version >= OLDEST_SYSTEMD)) || fail 1 "systemd $version is too old: $OLDEST_SYSTEMD or later is needed"
  "$PYTHON" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail 1 "PYTHON='$PYTHON': expected Python 3.11 or later with venv" 'apt-get install python3-venv'
  SYSTEMD=$version
}

# --- the user, directories and files

make_user() {
  if getent passwd "$OWNER" >/dev/null; then
    already "the user $OWNER"
  else
    step "create the system user $OWNER" \
      useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$OWNER"
  fi
}

make_directory() {
  local path=$1 mode=$2
  if [[ -d $path ]]; then
    already "$path"
  else
    step "create $path" install -d -m "$mode" "$path"
  fi
}

# put MODE OWNER:GROUP PATH: the standard input becomes the file, in one rename; says nothing.
put() {
  local mode=$1 owner=$2 path=$3 new
  mkdir -p "$(dirname "$path")"
  new=$(mktemp "$path.XXXXXX")
  cat >"$new"
  chmod "$mode" "$new"
  chown "$owner" "$new"
  mv -f "$new" "$path"
}

# bring MODE PATH CONTENT: replaces a file of ours that differs.
bring() {
  local mode=$1 path=$2 content=$3
  if [[ -f $path && $(<"$path") == "$content" ]]; then
    already "$path"
  else
    step "write $path" put "$mode" root:root "$path" <<<"$content"
    CHANGED=yes
  fi
}

# What of the environment goes into a new environment file.
readonly GIVEN=(DATABASE_URL CLUSTER_WORKERS BIND HOST PORT WSGI_APP
  KAFKA_BROKERS REDIS_URL ADMIN_SERVICE_URL)

check_given() {
  local name
  for name in "${GIVEN[@]}"; do
    if [[ ${!name:-} == *[\'\\$'\n']* ]]; then
      fail 2 "$name='${!name}': a value with ' or \\ has to be written into $ENVIRONMENT_FILE by hand"
    fi
  done
}

environment_template() {
  local name value
  cat <<'TEMPLATE'
# smart-factory's variables; docs and README list them all. Read anew at each reload:
#   smart-factory reload
# BIND, HOST, PORT and GRACEFUL_TIMEOUT also stand in systemd's units: after a change
#   sudo deploy/scripts/install.sh && systemctl restart smart-factory.socket smart-factory
# Consumers read it when they start:
#   systemctl restart 'smart-factory-consumer@*.service'
APP_ENV=production
TEMPLATE
  for name in "${GIVEN[@]}"; do
    value=${!name:-}
    if [[ -z $value ]]; then
      printf '#%s=\n' "$name"
    else
      printf "%s='%s'\n" "$name" "$value"
    fi
  done
}

write_environment() {
  local content name
  if [[ -f $ENVIRONMENT_FILE ]]; then
    already "$ENVIRONMENT_FILE, which is yours"
    for name in "${GIVEN[@]}"; do
      [[ -z ${!name:-} ]] || say "not used: $name of the environment; the file says what holds"
    done
    return
  fi
  content=$(environment_template)
  step "write $ENVIRONMENT_FILE" put 0640 "root:$OWNER" "$ENVIRONMENT_FILE" <<<"$content"
}

write_credentials() {
  local name
  for name in SECRET_KEY INTERNAL_TOKEN; do
    if [[ -s $ETC/credentials/$name ]]; then
      already "the credential $name"
    else
      step "create the credential $name" put 0600 root:root "$ETC/credentials/$name" \
        < <(head -c 48 /dev/urandom | base64 -w 0)
    fi
  done
}

# --- the release

# ID of the tree's content: UTC, then the commit when nothing differs from it, else a checksum.
release_id() {
  local digits='' git=(git -c safe.directory="$SOURCE" -C "$SOURCE")
  if "${git[@]}" rev-parse --verify --quiet HEAD >/dev/null 2>&1 &&
    [[ -z $("${git[@]}" status --porcelain) ]]; then
    digits=$("${git[@]}" rev-parse HEAD)
  else
    digits=$(find "$SOURCE" \( -name .git -o -name .venv -o -path "$SOURCE/var" -o -name __pycache__ \) \
      -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  fi
  printf '%s-%s\n' "$(date --utc +%Y%m%d-%H%M%S)" "${digits:0:7}"
}

build_first_release() {
  local id
  if [[ -e $ROOT/current ]]; then
    already "the release $(basename "$(readlink "$ROOT/current")")"
    NEXT="smart-factory release $SOURCE"
    return
  fi
  id=$(release_id)
  step "build the release $id" \
    "$HERE/build-release.sh" --python "$PYTHON" "$SOURCE" "$ROOT/releases/$id"
  step "make $ROOT/current lead to it" ln -sfn "releases/$id" "$ROOT/current"
}

link_bare() {
  if [[ -e $ROOT/bare ]]; then
    already "$ROOT/bare"
  else
    step "make $ROOT/bare lead to the current release" link_like_current
  fi
}

link_like_current() {
  ln -sfn "$(readlink "$ROOT/current")" "$ROOT/bare"
}

apply_migrations() {
  local python=$ROOT/current/.venv/bin/python
  if [[ -z $(setting DATABASE_URL '') || $(setting WSGI_APP app.wsgi:app) != app.wsgi:app ]]; then
    return
  fi
  [[ -n $SF_DRY_RUN || -d $ROOT/current/app/db ]] || return 0
  step 'bring the database up to date' run_migrations "$python"
}

run_migrations() {
  # As the service's user: the database may know it by that.
  if ! (cd "$ROOT/current" && ENV_FILE=$ENVIRONMENT_FILE \
    setpriv --reuid="$OWNER" --regid="$OWNER" --init-groups "$1" -P -m app.db migrate); then
    say "WARNING: the migrations were not applied; correct DATABASE_URL in $ENVIRONMENT_FILE and run this again"
  fi
}

# --- the command and the units

write_command() {
  bring 0755 "$COMMAND" "#!/bin/sh
# smart-factory's command, of the release that serves. Written by install.sh.
export SMART_FACTORY_ROOT=\"\${SMART_FACTORY_ROOT:-$ROOT}\"
export RUNTIME_DIRECTORY=\"\${RUNTIME_DIRECTORY:-/run/smart-factory}\"
export STATE_DIRECTORY=\"\${STATE_DIRECTORY:-/var/lib/smart-factory}\"
export LOG_DIRECTORY=\"\${LOG_DIRECTORY:-/var/log/smart-factory}\"
export ENV_FILE=\"\${ENV_FILE:-$ENVIRONMENT_FILE}\"
# Who may not read it may still ask how the service is.
[ -r \"\$ENV_FILE\" ] || ENV_FILE=/dev/null
exec \"\$SMART_FACTORY_ROOT/current/.venv/bin/python\" -P -m deploy \"\$@\""
  if [[ -d $(dirname "$COMPLETION") && -z $SF_DRY_RUN ]]; then
    local script
    if script=$("$COMMAND" completion bash 2>/dev/null); then
      bring 0644 "$COMPLETION" "$script"
    fi
  fi
}

write_units() {
  local unit
  for unit in "$SOURCE"/systemd/smart-factory*.{service,socket,target,timer}; do
    bring 0644 "$UNITS/$(basename "$unit")" "$(<"$unit")"
  done
  local before=$CHANGED
  CHANGED=''
  bring 0644 "$UNITS/smart-factory.socket.d/10-smart-factory.conf" "$(socket_drop_in)"
  if [[ -n $CHANGED ]] && systemctl is-active --quiet smart-factory.socket; then
    NEXT='systemctl restart smart-factory.socket smart-factory'
  fi
  CHANGED=$CHANGED$before
  bring 0644 "$UNITS/smart-factory.service.d/10-smart-factory.conf" "$(service_drop_in)"
}

# Where it listens, as the environment file says it.
socket_drop_in() {
  local address addresses
  addresses=$(setting BIND '')
  if [[ -z $addresses ]]; then
    address=$(setting HOST 127.0.0.1)
    [[ $address != *:* ]] || address="[$address]"
    addresses=$address:$(setting PORT 3000)
  fi
  printf '# Written by install.sh from %s.\n[Socket]\nListenStream=\n' "$ENVIRONMENT_FILE"
  while IFS= read -r address; do
    address=${address// /}
    printf 'ListenStream=%s\n' "${address#unix:}"
  done <<<"${addresses//,/$'\n'}"
}

# What follows from the environment file, and what older versions of systemd do not know.
service_drop_in() {
  printf '# Written by install.sh from %s.\n' "$ENVIRONMENT_FILE"
  printf '[Service]\nTimeoutStopSec=%d\n' "$(($(seconds GRACEFUL_TIMEOUT 10) + 20))"
  if ((SYSTEMD >= 254)); then
    printf 'RestartSteps=8\nRestartMaxDelaySec=5\n'
  fi
}

enable_units() {
  local unit enable=()
  # Plain or not is an operator's choice that a second run must not undo.
  local wanted=(smart-factory.target smart-factory.socket smart-factory-prune.timer smart-factory-topup.timer)
  if ! systemctl is-enabled --quiet smart-factory-bare.service 2>/dev/null; then
    wanted+=(smart-factory.service)
  fi
  for unit in "${wanted[@]}"; do
    systemctl is-enabled --quiet "$unit" 2>/dev/null || enable+=("$unit")
  done
  if ((${#enable[@]})); then
    step "enable ${enable[*]}" systemctl --quiet enable "${enable[@]}"
  else
    already 'the units are enabled'
  fi
}

# The consumers of our own application; the units are skipped while the release has none.
enable_consumers() {
  local name unit enable=() left=''
  if [[ $(setting WSGI_APP app.wsgi:app) != app.wsgi:app ]]; then
    return
  fi
  for name in "${CONSUMERS[@]}"; do
    unit=smart-factory-consumer@$name.service
    case $(systemctl is-enabled "$unit" 2>/dev/null) in
      enabled) ;;
      masked*) # an operator's will: it runs elsewhere
        say "not enabled: $unit, which is masked"
        left=yes
        ;;
      *)
        if [[ $name == allocation && -z $(setting ADMIN_SERVICE_URL '') ]]; then
          say "not enabled: $unit needs ADMIN_SERVICE_URL; set it in $ENVIRONMENT_FILE and run this again"
          left=yes
        else
          enable+=("$unit")
        fi
        ;;
    esac
  done
  if ((${#enable[@]} == 0)); then
    [[ -n $left ]] || already 'the consumers are enabled'
    return
  fi
  step "enable ${enable[*]}" systemctl --quiet enable "${enable[@]}"
  if systemctl is-active --quiet smart-factory.target; then
    step 'start them' systemctl start "${enable[@]}"
  fi
}

main() {
  local CHANGED='' SYSTEMD=0 NEXT='systemctl start smart-factory'
  while (($#)); do
    case $1 in
      -h | --help)
        help
        return
        ;;
      --dry-run) SF_DRY_RUN=yes ;;
      --uninstall)
        shift
        exec "$HERE/uninstall.sh" ${SF_DRY_RUN:+--dry-run} "$@"
        ;;
      *) fail 2 "unexpected argument '$1': allowed are --dry-run, --uninstall, --help" ;;
    esac
    shift
  done
  check_given
  check_machine
  SF_ENVIRONMENT=$ENVIRONMENT_FILE
  make_user
  make_directory "$ROOT/releases" 0755
  make_directory "$ETC/credentials" 0700
  write_environment
  if [[ -f $ENVIRONMENT_FILE ]]; then
    unset "${GIVEN[@]}" # from now on the file says it
  fi
  write_credentials
  build_first_release
  link_bare
  apply_migrations
  write_command
  write_units
  if [[ -n $CHANGED ]]; then
    step 'have systemd read its units anew' systemctl daemon-reload
  fi
  enable_units
  enable_consumers
  say "done; next step: $NEXT"
}

main "$@"
