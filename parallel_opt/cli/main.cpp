#include <fmt/format.h>

#include <cstdio>

#include "parallel_opt/base/version.h"

int main() { fmt::print(stdout, "parallel-opt {}\n", parallel_opt::kVersion); }
