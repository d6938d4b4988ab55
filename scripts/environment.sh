# Sourced by the scripts: makes the virtual environment if there is none, and installs what a script needs.
#   PYTHON  the interpreter to make it from (default: the first of python3, python3.13, … that is 3.11 or newer)
#   VENV    where it is (default: .venv)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=${VENV:-.venv}

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

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
  python=$(find_python)
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then # Debian ships them apart from Python
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "installing python3-venv" >&2
      apt-get update -qq >&2 && apt-get install -qq -y python3-venv >&2
    else
      echo "$python has no venv module; install it first (Debian: apt-get install python3-venv, as root)" >&2
      return 1
    fi
  fi
  echo "making $VENV with $("$python" --version)" >&2
  "$python" -m venv "$VENV"
}

# install EXTRAS: the package, editable, with these extras and the pinned versions; skipped where it is done.
install() {
  local extras=$1 stamp state
  [ -x "$VENV/bin/python" ] || make_environment
  stamp=$VENV/.dlcore-$extras
  state=$(cat pyproject.toml constraints.txt | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    echo "installing dlcore-jax[$extras] into $VENV" >&2
    PIP_CONSTRAINT=$PWD/constraints.txt "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
      --editable ".[$extras]" >&2
    echo "$state" >"$stamp"
  fi
}
