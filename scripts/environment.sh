# Sourced by the scripts: creates the virtual environment if there is none, and installs the packages of a script.
#   PYTHON  interpreter of the environment (default: the first of python3, python3.14, … that is 3.11 or newer)
#   VENV    its folder, absolute or relative to the project's root (default: .venv)

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${VENV:-.venv}
case $VENV in /*) ;; *) VENV=$ROOT/$VENV ;; esac
unset PYTHONDONTWRITEBYTECODE # else every process compiles the sources again; git ignores __pycache__

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    recent "$PYTHON" || { echo "PYTHON=$PYTHON is not a Python 3.11 or newer" >&2; return 1; }
    echo "$PYTHON"
    return
  fi
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if recent "$candidate"; then echo "$candidate"; return; fi
  done
  echo "dlcore needs Python 3.11 or newer; none was found. On Debian: apt-get install python3 python3-venv" >&2
  return 1
}

make_environment() {
  local python
  python=$(find_python) || return 1
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then # Debian has separate packages for them
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "installing python3-venv" >&2
      apt-get update -qq >&2 && apt-get install -qq -y python3-venv >&2
    else
      echo "$python has no venv module; install it first (Debian: apt-get install python3-venv, as root)" >&2
      return 1
    fi
  fi
  echo "making $VENV with $("$python" --version)" >&2
  "$python" -m venv --clear "$VENV"
}

# Succeeds if the environment is complete and has the version of PYTHON, if that is set.
usable_environment() {
  "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || return 1
  [ -z "${PYTHON:-}" ] || [ "$(version "$PYTHON")" = "$(version "$VENV/bin/python")" ]
}

# install EXTRAS: installs the package in editable mode, with these extras and the pinned versions, once.
install() {
  local extras=$1 stamp state
  usable_environment || make_environment
  stamp=$VENV/.dlcore-$extras
  state=$(cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    echo "installing dlcore-jax[$extras] into $VENV" >&2
    PIP_CONSTRAINT=$ROOT/constraints.txt "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
      --editable "$ROOT[$extras]" >&2
    echo "$state" >"$stamp"
  fi
}
