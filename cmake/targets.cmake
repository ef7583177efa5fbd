# Helpers for tests, benchmarks and fuzz targets: one line per binary in the CMakeLists.txt beside the sources.

# po_add_tests(<module> <source>...): one binary <module>_test, one ctest per TEST, named <module>.Suite.Name.
function(po_add_tests module)
  add_executable(${module}_test ${ARGN})
  target_link_libraries(${module}_test PRIVATE parallel_opt_core GTest::gtest GTest::gtest_main GTest::gmock)
  target_compile_definitions(${module}_test PRIVATE PARALLEL_OPT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(
    ${module}_test
    TEST_PREFIX ${module}.
    DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT 120
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
