#include <iostream>

#include "parallel_opt/cli/main_with.h"

int main(int argc, char** argv) {
  return parallel_opt::main_with({argv + 1, argv + argc}, std::cout, std::cerr);
}
