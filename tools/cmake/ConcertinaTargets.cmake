# concertina_library(NAME SOURCES ... DEPS ...)      a layer or a room of it
# concertina_executable(NAME SOURCES ... DEPS ...)
# concertina_test(NAME SOURCES ... DEPS ... [LABELS ...] [TIMEOUT seconds])   one GoogleTest program
include(GoogleTest)

function(concertina_target_defaults name)
  target_link_libraries(${name} PRIVATE concertina_options)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

function(concertina_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_DEPS})
  concertina_target_defaults(${name})
endfunction()

function(concertina_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  concertina_target_defaults(${name})
endfunction()

function(concertina_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    CONCERTINA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CONCERTINA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  concertina_target_defaults(${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
