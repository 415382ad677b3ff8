# Language level, warnings, sanitizers, ccache and linker: the same for every target of ours.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Assertions stay on in every build: a wrong size must stop a request, not corrupt a neighbour.
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g")

set(CONCERTINA_SANITIZE "" CACHE STRING "Sanitizers, comma separated (address,undefined or thread)")

add_library(concertina_options INTERFACE)
target_compile_options(concertina_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Werror -Wno-sign-conversion -Wno-missing-field-initializers)
if(CONCERTINA_SANITIZE)
  # Reports need function names and lines, nothing more; the rest doubles the size of what is linked.
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
  target_compile_options(concertina_options INTERFACE
    -fsanitize=${CONCERTINA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    # GCC warns of std::optional<at::Generator> that is empty where it is instrumented.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(concertina_options INTERFACE -fsanitize=${CONCERTINA_SANITIZE})
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # time_macros and pch_defines: needed for hits together with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${CCACHE_PROGRAM})
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()
