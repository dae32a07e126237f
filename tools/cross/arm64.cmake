# CMake toolchain: 64-bit Arm Linux from Debian's cross compiler and Debian's own packages for it, unpacked in a folder
# that stands for that system's root. Programs run under qemu's user mode.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# ESPALIER_CROSS_PREFIX: the folder that tools/cross/dependencies fills.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ESPALIER_CROSS_PREFIX)
set(CMAKE_SYSROOT ${ESPALIER_CROSS_PREFIX})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${ESPALIER_CROSS_PREFIX})
set(ENV{PKG_CONFIG_LIBDIR} ${ESPALIER_CROSS_PREFIX}/usr/lib/aarch64-linux-gnu/pkgconfig:${ESPALIER_CROSS_PREFIX}/usr/share/pkgconfig)

find_program(ESPALIER_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(ESPALIER_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${ESPALIER_QEMU} -L ${ESPALIER_CROSS_PREFIX})
endif()
