# concertina_library(NAME SOURCES ... DEPS ... [PCH <header> ...])      a layer or a room of it
#   PCH: headers of others that nearly every source includes and that are slow to parse (gRPC, protobuf)
# concertina_executable(NAME SOURCES ... DEPS ...)
# concertina_test(NAME SOURCES ... DEPS ... [LABELS ...] [TIMEOUT seconds])   one GoogleTest program
#   Labels that tools/test knows:
#     core      cache, engine, images: in the ordinary run also under the address and thread sanitizers
#     parser    reads what others made: in the ordinary run also under the address sanitizer
#     slow      left out under sanitizers
#     campaign  scaled down unless CONCERTINA_FULL is set
#   The targets core_tests and parser_tests build the programs with that label.
include(GoogleTest)

foreach(label core parser)
  add_custom_target(${label}_tests)
endforeach()

function(concertina_target_defaults name)
  target_link_libraries(${name} PRIVATE concertina_options)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

function(concertina_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PCH" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_DEPS})
  if(arg_PCH)
    target_precompile_headers(${name} PRIVATE ${arg_PCH})
  endif()
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
  if(CONCERTINA_SANITIZE MATCHES "thread")
    target_link_libraries(${name} PRIVATE concertina_status_reference)  # tests/sanitizers
  endif()
  target_compile_definitions(${name} PRIVATE
    CONCERTINA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CONCERTINA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  concertina_target_defaults(${name})
  foreach(label ${arg_LABELS})
    if(TARGET ${label}_tests)
      add_dependencies(${label}_tests ${name})
    endif()
  endforeach()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
