# Helpers for tests, benchmarks and fuzz targets: one line per binary in the CMakeLists.txt beside the sources.

# po_unite_sources(<target> [<count>]): hands the compiler up to <count> (8) neighbouring sources of a directory at once,
# which reads their headers and instantiates their templates once. A new file shifts the groups of its own directory only.
# Names of one group's anonymous namespaces must differ; -DPARALLEL_OPT_UNITY=OFF compiles every source alone.
function(po_unite_sources target)
  if(NOT PARALLEL_OPT_UNITY)
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "^${PROJECT_BINARY_DIR}/")
  list(SORT sources)
  set(count 8)
  if(ARGC GREATER 1)
    set(count ${ARGV1})
  endif()
  set(last "")
  foreach(source IN LISTS sources)
    cmake_path(ABSOLUTE_PATH source NORMALIZE OUTPUT_VARIABLE directory)
    cmake_path(GET directory PARENT_PATH directory)
    if(NOT directory STREQUAL last)
      set(last "${directory}")
      set(number 0)
    endif()
    math(EXPR group "${number} / ${count}")
    math(EXPR number "${number} + 1")
    cmake_path(GET directory FILENAME name)
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP "${name}_${group}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

# po_add_tests(<module> <source>...): one binary <module>_test, one ctest per TEST, named <module>.Suite.Name.
function(po_add_tests module)
  add_executable(${module}_test ${ARGN})
  po_unite_sources(${module}_test 16)  # most of a test is headers
  target_link_libraries(${module}_test PRIVATE parallel_opt_core GTest::gtest GTest::gtest_main GTest::gmock)
  target_compile_definitions(${module}_test PRIVATE PARALLEL_OPT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(
    ${module}_test
    TEST_PREFIX ${module}.
    DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT 300
  )
endfunction()

# po_add_bench(<name> <source>...): one Google Benchmark binary. `make bench` runs them all.
function(po_add_bench name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE parallel_opt_core benchmark::benchmark benchmark::benchmark_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
  add_dependencies(benches ${name})
endfunction()

# po_add_fuzz(<name>): fuzz/<name>.cpp defines LLVMFuzzerTestOneInput. With the preset `fuzz` it becomes a libFuzzer program;
# everywhere an ordinary test replays the files of fuzz/corpus/<name>/.
function(po_add_fuzz name)
  set(corpus ${PROJECT_SOURCE_DIR}/fuzz/corpus/${name})
  if(PARALLEL_OPT_FUZZ)
    add_executable(${name} ${name}.cpp)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${name} ${name}.cpp replay_main.cpp)
    add_test(NAME fuzz.${name} COMMAND ${name} ${corpus})
  endif()
  target_link_libraries(${name} PRIVATE parallel_opt_core)
endfunction()
