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
