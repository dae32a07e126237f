# CMake toolchain: 64-bit Windows from Debian's mingw-w64. Programs carry their libraries in themselves and run under wine.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
# The "-posix" compilers have C++ threads, which SentencePiece needs.
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)

# ESPALIER_CROSS_PREFIX: the folder that tools/cross/dependencies fills.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ESPALIER_CROSS_PREFIX)
set(CMAKE_FIND_ROOT_PATH ${ESPALIER_CROSS_PREFIX} /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${ESPALIER_CROSS_PREFIX}/lib/pkgconfig)
set(static_libraries "-DPCRE2_STATIC -DUTF8PROC_STATIC") # their headers take a DLL for granted
set(CMAKE_C_FLAGS_INIT "${static_libraries} -isystem ${ESPALIER_CROSS_PREFIX}/include")
set(CMAKE_CXX_FLAGS_INIT ${CMAKE_C_FLAGS_INIT})

# Debian keeps the program of package wine64 beside its libraries.
find_program(ESPALIER_WINE NAMES wine64 wine PATHS /usr/lib/wine)
if(ESPALIER_WINE)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${ESPALIER_WINE})
endif()
