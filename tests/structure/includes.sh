#!/bin/sh
# A folder includes only the folders before it in the order data travels. Exits 1 with each line that breaks this.
# usage: includes.sh SOURCE_ROOT
set -u
cd "$1" || exit 1
wrong=0

# folder: what it may include besides itself, the public headers and the shaders' headers
rules='host/base:
host/file:host/base third_party
host/task:host/base host/file
host/gpu:host/base
host/graph:host/base host/gpu
host/ops:host/base host/gpu host/graph
host/model:host/base host/file host/gpu host/graph host/ops
adapters:host/base host/file host/gpu host/graph host/ops host/model
host/train:host/base host/file host/task host/gpu host/graph host/ops host/model
host/serve:host/base host/file host/gpu host/graph host/ops host/model
tools/espalier:host/base host/file host/task host/gpu host/graph host/ops'

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

# Only os_<system>.c calls POSIX or Win32, and nothing but it opens or renames files, whose names C takes in the system's
# own encoding. Everybody else has C11's headers (signals, threads and clocks are the system's) and those of the outside
# libraries; getopt_long comes with every compiler's library there is a build for.
standard='assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|math|setjmp|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|tgmath|uchar|wchar|wctype'
libraries='espalier/[a-z]+|jansson|pcre2|utf8proc|vulkan/[a-z_]+|getopt'
foreign() { # PATTERN: lines of the library and the program that have it, less those of os_<system>.c
    grep -rnE "$1" host adapters tools --include='*.c' --include='*.h' | grep -vE '^host/base/os_[a-z0-9]+\.c:'
}
system=$(foreign '^ *# *include *<' | grep -vE ":#include <($standard|$libraries)\.h>")
[ -n "$system" ] && { echo "includes what is neither C11 nor a library: $system"; wrong=1; }
system=$(foreign '_(POSIX|XOPEN|GNU|DARWIN|BSD|DEFAULT)(_C)?_SOURCE|\b(fopen|freopen|remove|rename|tmpfile|tmpnam|system) *\(')
[ -n "$system" ] && { echo "calls the system directly: $system"; wrong=1; }
environment=$(grep -rlE '\bgetenv *\(' host adapters --include='*.c' | grep -vE '^host/(gpu/config|base/os_[a-z0-9]+)\.c$')
[ -n "$environment" ] && { echo "reads the environment: $environment"; wrong=1; }
exit $wrong
