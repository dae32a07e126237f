#!/bin/sh
# A folder includes only the folders before it in the order data travels. Exits 1 with each line that breaks this.
# usage: includes.sh SOURCE_ROOT
set -u
cd "$1" || exit 1
wrong=0

# folder: what it may include besides itself, the public headers and the shaders' headers
rules='host/base:
host/file:host/base third_party
host/gpu:host/base
host/graph:host/base host/gpu
host/ops:host/base host/gpu host/graph
host/model:host/base host/file host/gpu host/graph host/ops
adapters:host/base host/file host/gpu host/graph host/ops host/model
host/train:host/base host/file host/gpu host/graph host/ops host/model
host/serve:host/base host/file host/gpu host/graph host/ops host/model
tools/espalier:host/base host/file host/gpu host/graph host/ops'

check() { # FILE ALLOWED...
    file=$1; shift
    sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file" | while read -r included; do
        case $included in shaders/*) continue ;; */*) ;; *) continue ;; esac
        for folder in "$@"; do
            case $included in "$folder"/*) continue 2 ;; esac
        done
        echo "$file includes $included"
    done
}

found=$(printf '%s\n' "$rules" | while IFS=: read -r folder allowed; do
    for file in "$folder"/*.c "$folder"/*.h; do
        [ -e "$file" ] || continue
        # shellcheck disable=SC2086
        check "$file" "$folder" $allowed
    done
done)
[ -n "$found" ] && { echo "$found"; wrong=1; }

# Only host/gpu and the tests name Vulkan.
vulkan=$(grep -rlE '#include <vulkan|\bVk[A-Z][A-Za-z]+\b *\*?[a-z_]+[;,)=]' host adapters tools --include='*.c' --include='*.h' |
    grep -v '^host/gpu/' | grep -v '^host/include/espalier/device.h$')
[ -n "$vulkan" ] && { echo "names Vulkan outside of host/gpu: $vulkan"; wrong=1; }

# Only os_<system>.c, system_<system>.c and the GPU's configuration ask the system.
system=$(grep -rlE '#include <(unistd|fcntl|sys/|dlfcn|windows|pthread|signal)' host adapters tools --include='*.c' --include='*.h' |
    grep -vE '^(host/base/os_[a-z]+|tools/espalier/system_[a-z]+)\.c$')
[ -n "$system" ] && { echo "calls the system directly: $system"; wrong=1; }
environment=$(grep -rlE '\bgetenv *\(' host adapters --include='*.c' | grep -vE '^host/(gpu/config|base/os_[a-z]+)\.c$')
[ -n "$environment" ] && { echo "reads the environment: $environment"; wrong=1; }
exit $wrong
