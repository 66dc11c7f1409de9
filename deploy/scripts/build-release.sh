#!/usr/bin/env bash
# Builds one release: a copy of a tree with a virtual environment of its own.
#
#   deploy/scripts/build-release.sh [--python PYTHON] [--kit DIRECTORY] SOURCE DESTINATION
#
# SOURCE is a directory; of a Git work tree what is tracked or not ignored is taken. DESTINATION
# must not exist, and is where the release will stay: a virtual environment cannot be moved. A tree
# without a gunicorn.conf.py, so any WSGI application, gets the kit of --kit (default: the tree that
# this script lies in). An interrupted or failed build is left with a file BUILDING in it.
#
# Exit code: 0 built, 1 failed, 2 wrong use.
set -Eeuo pipefail

# What the kit itself needs of requirements.txt.
readonly KIT_REQUIREMENTS='gunicorn|python-json-logger|python-dotenv|click|rich|psutil|setproctitle'

say() {
  printf 'build: %s\n' "$*"
}

die() {
  printf 'build: %s\n' "$2" >&2
  exit "$1"
}

# Everything of a tree that belongs into a release, as a tar archive.
archive() {
  local source=$1 name git=(git -c safe.directory='*' -C "$1")
  # A folder that the repository around it ignores is not of its work tree.
  if "${git[@]}" rev-parse --is-inside-work-tree &>/dev/null && ! "${git[@]}" check-ignore --quiet .; then
    # What was deleted, but not committed, is still listed.
    "${git[@]}" ls-files --cached --others --exclude-standard -z |
      while IFS= read -r -d '' name; do
        [[ ! -e $source/$name && ! -L $source/$name ]] || printf '%s\0' "$name"
      done | tar --directory "$source" --create --null --no-recursion --files-from=-
  else
    # Everybody may read a release: no .env. The marks say what became of another release.
    tar --directory "$source" --create --exclude-vcs --exclude=__pycache__ --exclude=.*_cache \
      --exclude=./{var,.venv,.env,BUILDING,FAILED,LIVED,RELEASE} .
  fi
}

# Puts the kit beside an application that comes without it.
add_kit() {
  local kit=$1 destination=$2
  [[ ! -e $destination/deploy ]] ||
    die 1 "the tree has deploy/ but no gunicorn.conf.py: the kit's own deploy/ cannot be put beside it"
  say "adding the kit of $kit"
  tar --directory "$kit" --create --exclude=__pycache__ gunicorn.conf.py deploy systemd |
    tar --directory "$destination" --extract
}

install_requirements() {
  local destination=$1 kit=$2 options=()
  if [[ -n $kit ]]; then
    grep -E "^($KIT_REQUIREMENTS)==" "$kit/requirements.txt" >"$destination/requirements-kit.txt"
    options+=(-r "$destination/requirements-kit.txt")
  fi
  [[ ! -f $destination/requirements.txt ]] || options+=(-r "$destination/requirements.txt")
  [[ ! -f $destination/constraints.txt ]] || options+=(-c "$destination/constraints.txt")
  say 'installing its requirements'
  "$destination/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-input "${options[@]}" || die 1 'pip could not install the requirements; its message is above'
}

build() {
  local python=$1 kit=$2 source=$3 destination=$4 added='' site
  mkdir -p "$destination"
  : >"$destination/BUILDING"
  say "copying $source"
  archive "$source" | tar --directory "$destination" --extract --no-same-owner
  if [[ ! -f $destination/gunicorn.conf.py ]]; then
    add_kit "$kit" "$destination"
    added=$kit
  elif [[ ! -d $destination/deploy/cluster ]]; then
    die 1 "the tree has a gunicorn.conf.py that is not the kit's: take it away, what it sets are variables here"
  fi
  say "creating its virtual environment with $("$python" --version 2>&1)"
  "$python" -m venv "$destination/.venv" || die 1 "$python -m venv failed; its message is above"
  install_requirements "$destination" "$added"
  # The tree is found from any directory, and by no other release.
  site=$("$destination/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$destination" >"$site/release.pth"
  basename "$destination" >"$destination/RELEASE"
  say 'compiling'
  # The service may not write here. A file that does not compile is the preflight's to refuse.
  "$destination/.venv/bin/python" -m compileall -q "$destination" >/dev/null || true
  chmod -R a+rX,go-w "$destination"
  rm "$destination/BUILDING"
  say "built $destination"
}

main() {
  local python=${PYTHON:-python3} kit
  kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  while (($#)); do
    case $1 in
      -h | --help)
        sed -n '2,/^set /s/^#\( \|$\)//p' "$0"
        return
        ;;
      --python | --kit)
        (($# > 1)) || die 2 "$1: expected a value"
        [[ $1 == --kit ]] && kit=$2 || python=$2
        shift
        ;;
      -*) die 2 "unexpected option '$1'; see --help" ;;
      *) break ;;
    esac
    shift
  done
  (($# == 2)) || die 2 'expected SOURCE and DESTINATION; see --help'
  local source=$1 destination=$2
  [[ -d $source ]] || die 2 "SOURCE='$source': expected a directory"
  [[ ! -e $destination ]] || die 2 "DESTINATION='$destination': expected a path where nothing is yet"
  [[ -f $kit/gunicorn.conf.py ]] || die 2 "--kit='$kit': expected a tree with gunicorn.conf.py"
  "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die 1 "'$python': expected Python 3.11 or later with venv (Debian: apt-get install python3-venv)"
  [[ $destination == /* ]] || destination=$PWD/$destination
  umask 022
  # Whatever fails has said why; its exit code may mean something else here.
  trap 'exit 1' ERR
  build "$python" "$kit" "$(cd "$source" && pwd)" "$destination"
}

main "$@"
