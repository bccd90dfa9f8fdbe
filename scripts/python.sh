# Sourced by the other scripts: finds a Python and makes virtual environments, with uv where it is on PATH.

supported='(3, 11) <= sys.version_info[:2] <= (3, 13)'

# Prints the path of a Python that can make a virtual environment, or explains on stderr what to install.
# The system's own comes first: runs of a worker that was started as root give up root, and an interpreter in somebody's
# private home is then out of reach. PYTHON=/path/to/python overrules the search.
find_python() {
    local candidate path lacks_venv='' found=''
    for candidate in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
        # A shim may be on PATH without a Python behind it, so each candidate has to speak for itself.
        path=$("$candidate" -c "import sys; print(sys.executable) if $supported else sys.exit(1)" 2>/dev/null) || {
            command -v "$candidate" >/dev/null && found+=" $candidate"
            continue
        }
        if command -v uv >/dev/null || "$path" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$path"
            return
        fi
        lacks_venv=${lacks_venv:-$path}
    done
    if [ -n "$lacks_venv" ]; then
        echo "$lacks_venv cannot make virtual environments; install what it lacks and try again:" >&2
        echo "    $(as_root)apt-get install $("$lacks_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2
    elif command -v uv >/dev/null && [ -z "${PYTHON:-}" ]; then
        # uv finds or fetches one by itself.
        echo '>=3.11,<3.14'
        return
    else
        echo "sealrun needs Python 3.11, 3.12 or 3.13${found:+; not suitable:$found}. Install one and try again, for instance:" >&2
        echo "    $(as_root)apt-get install python3 python3-venv" >&2
        echo "or name one: PYTHON=/path/to/python3.12 $0" >&2
    fi
    return 1
}

# installed_python VERSION: prints the path of a Python of that version which this machine has, or fails; nothing is downloaded.
installed_python() {
    local candidate
    for candidate in "/usr/bin/python$1" "/usr/local/bin/python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/"python$1" \
        "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-"$1"*/bin/"python$1" "python$1"; do
        "$candidate" -c "import ensurepip, sys, venv; print(sys.executable) if $supported else sys.exit(1)" 2>/dev/null && return
    done
    return 1
}

# reachable PYTHON FOLDER: prints PYTHON where other accounts can start it or nobody will ask them to; otherwise the same
# interpreter from a copy in FOLDER. A worker of root lends user ids, which have no way into root's home.
reachable() {
    local base copy=$2
    base=$("$1" -c 'import sys; print(sys.base_prefix)')
    if [ "$(id -u)" -ne 0 ] || started_by_others "$1"; then
        echo "$1"
        return
    fi
    rm -rf "$copy"
    # Links where the disk is the same; but the program itself is changed below.
    cp -al "$base" "$copy" 2>/dev/null || { rm -rf "$copy" && cp -a "$base" "$copy"; }
    "$1" - "$base" "$copy/bin/$(basename "$(readlink -f "$1")")" <<'EOF'
import os, sys
base, program = sys.argv[1:]
with open(program, "rb") as file:
    code = file.read()
# Where libpython is looked for, in as many bytes.
old, new = os.fsencode(f"{base}/lib"), b"$ORIGIN/../lib"
os.unlink(program)
with open(program, "wb") as file:
    file.write(code.replace(old + b"\0", new.ljust(len(old), b"\0") + b"\0") if len(new) <= len(old) else code)
os.chmod(program, 0o755)
EOF
    copy=$copy/bin/$(basename "$(readlink -f "$1")")
    if started_by_others "$copy"; then
        echo "$copy"
    else
        echo "python: $1 is closed to other accounts, and so is a copy of it: tests that lend user ids are skipped or fail" >&2
        echo "$1"
    fi
}

# started_by_others PYTHON: whether an account without any rights can start it.
started_by_others() {
    setpriv --reuid=61205 --regid=61205 --clear-groups "$1" -c '' 2>/dev/null
}

as_root() {
    [ "$(id -u)" -eq 0 ] || echo 'sudo '
}

# new_venv FOLDER: an empty virtual environment, in place of what is there.
new_venv() {
    local python
    python=$(find_python) || return
    if command -v uv >/dev/null; then
        uv venv --quiet --clear --python "$python" "$1"
    else
        "$python" -m venv --clear "$1"
    fi
}

# works FOLDER: whether a virtual environment is there and its interpreter starts.
works() {
    "$1/bin/python" -c '' 2>/dev/null
}

# install_into FOLDER ARGS…: pip install ARGS into that virtual environment.
install_into() {
    local venv=$1
    shift
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$venv/bin/python" "$@"
    else
        # uv makes environments without pip, and so does an interrupted venv.
        "$venv/bin/python" -c 'import pip' 2>/dev/null || "$venv/bin/python" -m ensurepip > /dev/null
        "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"
    fi
}

# fingerprint FILE…: one line that changes with the files and with the place of the checkout (virtual environments do not move).
fingerprint() {
    { pwd && cat "$@"; } | cksum
}
