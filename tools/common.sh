# Sourced by quickstart and check: packages, building, and saying what happens.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc 2> /dev/null || echo 2)

say() { printf '\n== %s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# What the library and the program are built from and run on, as Debian 12 names it.
build_packages="cmake ninja-build gcc g++ pkg-config glslc libvulkan-dev libvulkan1 mesa-vulkan-drivers libjansson-dev
    libpcre2-dev libutf8proc-dev libsentencepiece-dev"

# need_packages NAME...: installs with apt what is not there; elsewhere it only tells what to install.
need_packages() {
    local name missing=()
    if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
        echo "This is no Debian: what these packages of Debian 12 hold must be installed already:" "$@"
        return
    fi
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2> /dev/null)" = installed ] || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "All packages are there:" "$@"
        return
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo > /dev/null || die "please install these as root: ${missing[*]}"
        as_root=(sudo)
    fi
    echo "Installing with apt-get:" "${missing[@]}"
    "${as_root[@]}" apt-get update -q < /dev/null > /dev/null || die "apt-get update failed"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        "${missing[@]}" < /dev/null > /dev/null || die "apt-get could not install ${missing[*]}"
}

# build FOLDER TARGETS CMAKE_ARGUMENT...: configures where needed and builds; the last lines of a failure are shown.
build() {
    local folder=$1 targets=$2
    shift 2
    mkdir -p "$folder"
    if ! cmake -S "$root" -B "$folder" -G Ninja "$@" > "$folder/configure.log" 2>&1; then
        tail -n 25 "$folder/configure.log"
        return 1
    fi
    # shellcheck disable=SC2086 # a list of words
    if [ -t 1 ]; then
        cmake --build "$folder" --target $targets --parallel "$jobs" # ninja keeps to one line
    elif ! cmake --build "$folder" --target $targets --parallel "$jobs" > "$folder/build.log" 2>&1; then
        grep -A 20 -m 1 FAILED "$folder/build.log" || tail -n 25 "$folder/build.log"
        return 1
    fi
}
