# Sourced by quickstart, check and cross: packages, building, testing, and saying what happens.
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

attribute() { sed -n "s/.*<testsuite[^>]* $1=\"\\([0-9]*\\)\".*/\\1/p" "$2"; }

# run_tests FOLDER SECONDS CTEST_ARGUMENT...: adds what ctest counts to passed, failed and skipped of the caller
run_tests() {
    local where=$1 seconds=$2 report=$1/report.xml
    shift 2
    rm -f "$report"
    timeout "$seconds" ctest --test-dir "$where" --output-on-failure --parallel 2 --output-junit "$report" "$@"
    local status=$? all bad left
    if [ ! -s "$report" ]; then
        failed=$((failed + 1))
        echo "FAILED: ctest gave no report (status $status; 124: it took longer than $seconds s)"
        return
    fi
    # ctest writes one attribute per line, after a tab.
    tr '\n\t' '  ' < "$report" > "$report.line"
    all=$(attribute tests "$report.line") bad=$(attribute failures "$report.line") left=$(attribute skipped "$report.line")
    passed=$((passed + all - bad - left)) failed=$((failed + bad)) skipped=$((skipped + left))
    if [ "$all" -eq 0 ] || { [ $status -ne 0 ] && [ "$bad" -eq 0 ]; }; then
        failed=$((failed + 1))
        echo "FAILED: ctest ran $all tests and ended with status $status"
    fi
}
