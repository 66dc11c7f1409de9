#!/usr/bin/env bash
# Creates .venv with the pinned requirements, or does nothing when it is up to date.
#
#   deploy/scripts/setup.sh [--help]
#
# PYTHON names the interpreter (default: the first of python3, python3.14 … python3.11 that fits).
set -Eeuo pipefail

readonly OLDEST=11 NEWEST=14 # the minor versions of Python 3 that the tests run on

die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# Prints the minor version of an interpreter when it is a Python 3 that runs, else nothing.
minor_version() {
  "$1" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else "")' 2>/dev/null || true
}

fits() {
  local minor
  minor=$(minor_version "$1")
  [[ -n $minor ]] && ((minor >= OLDEST && minor <= NEWEST))
}

find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    command -v "$PYTHON" >/dev/null || die "PYTHON='$PYTHON': no such command"
    fits "$PYTHON" || die "PYTHON='$PYTHON' is $("$PYTHON" --version 2>&1 || true): Python 3.$OLDEST to 3.$NEWEST is needed"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if fits "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  if command -v python3 >/dev/null; then
    die "python3 is $(python3 --version 2>&1): Python 3.$OLDEST to 3.$NEWEST is needed; name one with PYTHON=/path/to/python"
  fi
  die "no python3 in PATH: Python 3.$OLDEST to 3.$NEWEST is needed (Debian: apt-get install python3 python3-venv)"
}

# What decides, beside the interpreter, whether .venv is up to date.
fingerprint() {
  cat requirements.txt requirements-dev.txt constraints.txt pyproject.toml deploy/scripts/setup.sh | cksum
}

# Whether .venv has an interpreter that runs, and that is of the version PYTHON asks for. One that
# was moved, or whose interpreter is gone, cannot be mended.
usable() {
  local minor
  minor=$(minor_version .venv/bin/python)
  [[ -n $minor ]] && [[ -z ${PYTHON:-} || $minor == "$(minor_version "$PYTHON")" ]]
}

create() {
  local python=$1
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$python has no venv module: install it (Debian: apt-get install python3-venv) and run this again"
  printf 'setup: creating .venv with %s\n' "$("$python" --version 2>&1)"
  rm -rf .venv
  "$python" -m venv .venv || die "$python -m venv failed; its message is above"
}

install_requirements() {
  printf 'setup: installing the pinned requirements (a minute, the first time)\n'
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r requirements.txt -r requirements-dev.txt -c constraints.txt ||
    die "pip could not install the requirements; its message is above"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation --editable . ||
    die "pip could not install the smart-factory command; its message is above"
}

main() {
  case "${1:-}" in
    -h | --help)
      sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      return
      ;;
    '') ;;
    *)
      printf "setup: unexpected argument '%s'; see --help\n" "$1" >&2
      exit 2
      ;;
  esac
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."

  # Two `make` in a fresh clone must not build the same .venv at once.
  mkdir -p var
  exec 9>var/setup.lock
  flock --wait 600 9 || die "another set-up has held var/setup.lock for 10 minutes"

  local stamp=.venv/setup-complete
  if [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]] && usable; then
    return
  fi
  local python
  python=$(find_python)
  if [[ ! -f $stamp ]] || ! usable; then
    create "$python"
  fi
  rm -f "$stamp"
  install_requirements
  # Written last, by rename: an interrupted set-up is never taken for a whole one.
  fingerprint >"$stamp.new"
  mv "$stamp.new" "$stamp"
  printf 'setup: done\n'
}

main "$@"
