# weft_uv: the libuv that is measured; no such target where there is none. The system's, unless
# LIBUV_PREFIX, an option or, when a build directory is first configured, an environment variable,
# names where another one was installed.
set(LIBUV_PREFIX "$ENV{LIBUV_PREFIX}" CACHE PATH "Measure the libuv installed there; empty: the system's")

if(LIBUV_PREFIX)
    set(places PATHS ${LIBUV_PREFIX} NO_DEFAULT_PATH NO_CACHE)
    find_path(uv_include uv.h PATH_SUFFIXES include ${places})
    # CMake has a program find its shared libraries where it was linked with them.
    find_library(uv_library NAMES uv libuv.so.1 libuv.a uv_a ${places}
        PATH_SUFFIXES lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
    if(NOT uv_include)
        set(missing "include/uv.h")
    elseif(NOT uv_library)
        set(missing "libuv.so, libuv.so.1, libuv.a or libuv_a.a in lib, lib64 or lib/${CMAKE_LIBRARY_ARCHITECTURE}")
    endif()
    if(missing)
        message(FATAL_ERROR "LIBUV_PREFIX is ${LIBUV_PREFIX}, which has no ${missing}. Name the "
            "directory that libuv was installed to (cmake --install BUILD --prefix DIR), or say "
            "-DLIBUV_PREFIX= for the system's libuv.")
    endif()
    add_library(weft_uv INTERFACE)
    target_include_directories(weft_uv SYSTEM INTERFACE ${uv_include})
    target_link_libraries(weft_uv INTERFACE ${uv_library} Threads::Threads ${CMAKE_DL_LIBS})
    message(STATUS "bench: libuv is ${uv_library}")
else()
    # not LIBUV, whose PREFIX would be its own
    pkg_check_modules(WEFT_LIBUV IMPORTED_TARGET libuv)
    if(WEFT_LIBUV_FOUND)
        add_library(weft_uv INTERFACE)
        target_link_libraries(weft_uv INTERFACE PkgConfig::WEFT_LIBUV)
    endif()
endif()
