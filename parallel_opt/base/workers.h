#pragma once

#include <cstddef>
#include <functional>

namespace parallel_opt {

/// Calls `body(i)` for every i in [0, count) on up to `threads` threads (0: one per core) and
/// waits. The order of calls is not defined, so results go to slots by index. The first exception,
/// by index, is rethrown after all have ended.
void parallel_for(std::size_t count, int threads, const std::function<void(std::size_t)>& body);

}  // namespace parallel_opt
