# shellcheck shell=bash
# What tests/run and acceptance/run share: from a fresh machine to a Python that has everything, and back. To be sourced.
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
lab=$repository/acceptance/lab
venv=$repository/.venv
keep= # not empty: hosts and daemon outlive this run
cd "$repository" || exit

say() { printf '%s\n' "$*" >&2; }

# Ubuntu 22.04's python3 is 3.10; a newer one stands beside it in universe.
find_python() {
    local python packages="python3 python3-venv"
    for python in python3 python3.{20..11}; do
        if command -v "$python" >/dev/null &&
            "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    if command -v python3 >/dev/null && ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        packages="python3.11 python3.11-venv (Ubuntu 22.04 has them in universe), for python3 is $(python3 --version)"
    fi
    say "needs Python 3.11 or later with venv: apt-get install $packages"
    return 1
}

# The project's own Python, made again when pyproject.toml has changed.
prepare_python() {
    local python stamp=$venv/.pyproject want
    python=$(find_python)
    want=$("$python" --version; sha256sum <pyproject.toml)
    if [[ -e $stamp && $(<"$stamp") == "$want" ]]; then
        return
    fi
    say "installing k8sha and what its tests need into .venv"
    "$python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --editable '.[test,docs]'
    printf '%s\n' "$want" >"$stamp"
}

# Commands that talk to Docker: as ourselves where that is allowed, else as root.
as_lab=()
# The Vagrantfile marks every container with the run that made it, so that we remove those and nobody else's.
export K8SHA_RUN=$$-${EPOCHREALTIME/./}
hosts() { "${as_lab[@]}" docker ps --all --quiet --filter "label=k8sha.run=$K8SHA_RUN"; }

# Brings the machine to where the lab can be used, and sees to it that the way out leads back to where it was.
prepare_lab() {
    if [[ ! -d /run/k8sha-lab ]]; then
        setup_is_ours=yes
    fi
    trap clean_up EXIT
    "$lab/setup"
    if ! docker version >/dev/null 2>&1; then
        as_lab=(sudo --preserve-env --set-home env "PATH=$PATH:/usr/sbin:/sbin")
    fi
    lab_ready=yes
}

clean_up() {
    trap '' INT TERM
    if [[ -n $keep ]]; then
        say "the lab stays; acceptance/lab/stop ends the daemon once no host runs"
        return
    fi
    if [[ -n ${lab_ready-} ]]; then
        remove_hosts
    fi
    if [[ -n ${setup_is_ours-} ]]; then
        "$lab/stop"
    fi
}

remove_hosts() {
    local found network networks
    mapfile -t found < <(hosts)
    ((${#found[@]})) || return 0
    say "removing ${#found[@]} hosts"
    networks=$("${as_lab[@]}" docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' \
        "${found[@]}" | grep ^vagrant_network_ | sort -u)
    "${as_lab[@]}" docker rm --force --volumes "${found[@]}" >/dev/null
    for network in $networks; do
        if [[ $("${as_lab[@]}" docker network inspect --format '{{len .Containers}}' "$network") == 0 ]]; then
            "${as_lab[@]}" docker network rm "$network" >/dev/null
        fi
    done
}

trap 'exit 130' INT
trap 'exit 143' TERM
