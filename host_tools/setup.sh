#!/bin/sh
# Makes the virtual environment and, as root on Debian, installs the system packages that are absent.
# Usage: setup.sh PYTHON VENV
set -eu
python=$1
venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed" >&2
    echo "because: $("$python" --version 2>&1)" >&2
    echo "try: make PYTHON=python3.12 (or the path of a newer Python)" >&2
    exit 1
}

# Mosquitto, NATS, openssl and tshark serve the demo and the tests; without Mosquitto the embedded broker steps in.
missing=
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || missing="mosquitto"
command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ] || missing="$missing nats-server"
command -v openssl >/dev/null || missing="$missing openssl"
command -v tshark >/dev/null || missing="$missing tshark"
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $missing"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >/dev/null 2>&1 || true
        # One by one: a package that cannot be had must not keep the others away.
        for package in $missing; do
            apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 || \
                echo "setup: could not install $package; try: apt-get install $package" >&2
        done
        # These packages start services of their own, which nothing here uses.
        for service in mosquitto nats-server; do
            case " $missing " in *" $service "*) ;; *) continue ;; esac
            service "$service" stop >/dev/null 2>&1 || true
            command -v systemctl >/dev/null && systemctl disable "$service" >/dev/null 2>&1 || true
        done
    else
        echo "setup: absent: $missing; try: sudo apt-get install $missing (macOS: brew install $missing)" >&2
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "setup: installing Python packages into $venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e '.[sim,ble,broker,flash,dev]'
touch "$venv/.ready"
