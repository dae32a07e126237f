# A stranger's project: installs into an empty prefix and builds the C program of README.md against it, found by CMake
# and by pkg-config. BUILD is the build folder.
. "$SOURCE/tests/e2e/lib.sh"
: "${BUILD:?the build folder}"
prefix=$work/prefix
awk '/^```c$/ { inside = 1; next } /^```/ { if (inside) exit } inside' "$SOURCE/README.md" > "$work/program.c" 2> /dev/null
if [ ! -s "$work/program.c" ]; then
    echo "skipped: README.md has no C program"
    exit 77
fi

check "install" cmake --install "$BUILD" --prefix "$prefix"
# The tree must work wherever it is moved.
mv "$prefix" "$work/moved" && prefix=$work/moved
check "the program is installed" "$prefix/bin/espalier" --version
config=$(find "$prefix" -name espalierConfig.cmake)
pc=$(find "$prefix" -name espalier.pc)
check "nothing refers to the source or build folder" sh -c "! grep -rlE '$SOURCE|$BUILD' '${config%/*}' '$pc'"

mkdir "$work/by-cmake"
cat > "$work/by-cmake/CMakeLists.txt" << END
cmake_minimum_required(VERSION 3.20)
project(stranger C)
find_package(espalier REQUIRED)
add_executable(stranger $work/program.c)
target_link_libraries(stranger PRIVATE espalier::espalier)
END
check "find_package" cmake -G Ninja -S "$work/by-cmake" -B "$work/by-cmake/build" -DCMAKE_PREFIX_PATH="$prefix"
check "builds with CMake" cmake --build "$work/by-cmake/build"
pkg() { PKG_CONFIG_PATH=${pc%/*} pkg-config "$@" espalier; }
check "builds with pkg-config" sh -c "${CC:-cc} -std=c11 -Wall -Werror $(pkg --cflags) '$work/program.c' -o '$work/by-pkg-config' $(pkg --libs)"

run devices --json
if [ $status -ne 0 ] || ! grep -q '{' "$work/out"; then
    skip "running it: there is no Vulkan device"
    finish
fi
for made in "$work/by-cmake/build/stranger" "$work/by-pkg-config"; do
    LD_LIBRARY_PATH=$prefix/lib timeout 300 "$made" "$SOURCE/tools/base" > "$work/out" 2> "$work/err"
    status=$?
    if [ $status -eq 0 ] && [ "$(wc -c < "$work/out")" -gt 100 ]; then
        ok "${made#"$work"/} writes: $(head -c 60 "$work/out" | tr '\n' ' ')"
    else
        not_ok "${made#"$work"/} writes text" "exit status $status" "$(tail -n 3 "$work/err")"
    fi
done
finish
