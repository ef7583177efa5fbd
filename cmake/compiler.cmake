# Compiler switches. `po_compile_options` carries those that every target of ours gets and no other library does.
add_library(po_compile_options INTERFACE)
target_compile_features(po_compile_options INTERFACE cxx_std_20)
target_compile_options(
  po_compile_options
  INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual
    # GCC 12 sees an overlap in every `"text" + std::to_string(n)` (GCC bug 105651).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    $<$<BOOL:${PARALLEL_OPT_WERROR}>:-Werror>
)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(PARALLEL_OPT_SANITIZE)  # for example "address,undefined" or "thread"
  add_compile_options(-fsanitize=${PARALLEL_OPT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PARALLEL_OPT_SANITIZE})
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # GCC warns about its own <regex> and <optional> when they are instrumented
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()
if(PARALLEL_OPT_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

find_program(PARALLEL_OPT_CCACHE ccache)
if(PARALLEL_OPT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PARALLEL_OPT_CCACHE})
endif()
