#include "parallel_opt/base/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace parallel_opt {
namespace {

TEST(ParallelFor, CallsEveryIndexOnceOnAnyThreadCount) {
  for (const int threads : {0, 1, 2, 7}) {
    for (const std::size_t count : {0u, 1u, 5u, 1000u}) {
      std::vector<std::atomic<int>> calls(count);
      parallel_for(count, threads, [&](std::size_t i) { ++calls[i]; });
      for (const auto& c : calls) ASSERT_EQ(c, 1);
    }
  }
}

TEST(ParallelFor, TheFirstExceptionByIndexIsRethrownAfterAllHaveRun) {
  for (const int threads : {1, 4}) {
    std::atomic<int> calls = 0;
    try {
      parallel_for(100, threads, [&](std::size_t i) {
        ++calls;
        if (i % 10 == 3) throw std::runtime_error("index " + std::to_string(i));
      });
      FAIL() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "index 3");
    }
    EXPECT_EQ(calls, 100);
  }
}

}  // namespace
}  // namespace parallel_opt
