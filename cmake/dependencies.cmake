# Libraries that the core needs. tools/setup.sh names their packages.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(fmt 8 REQUIRED)
# The CMake configuration that Debian ships with libzip names a program of another package and fails: ask pkg-config.
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip)
find_path(PROTOZERO_INCLUDE_DIR protozero/version.hpp REQUIRED)  # header-only, ships no CMake or pkg-config file
pkg_check_modules(hwloc IMPORTED_TARGET hwloc)
if(NOT hwloc_FOUND)
  message(STATUS "hwloc not found: the topology of this machine is read from /sys alone")
endif()
find_package(yaml-cpp QUIET)
if(NOT yaml-cpp_FOUND)
  message(STATUS "yaml-cpp not found: cluster files are read as JSON alone")
endif()
