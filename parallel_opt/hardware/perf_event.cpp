#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "parallel_opt/hardware/energy.h"

namespace parallel_opt {
namespace {

class KernelPerfEvent final : public PerfEvent {
 public:
  explicit KernelPerfEvent(int file) : file_(file) {}
  KernelPerfEvent(const KernelPerfEvent&) = delete;
  KernelPerfEvent& operator=(const KernelPerfEvent&) = delete;
  ~KernelPerfEvent() override { ::close(file_); }
  std::optional<std::uint64_t> read() override {
    std::uint64_t count = 0;
    if (::read(file_, &count, sizeof count) != sizeof count) return std::nullopt;
    return count;
  }

 private:
  int file_;
};

}  // namespace

std::unique_ptr<PerfEvent> open_perf_event(const PerfEventSpec& spec) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = spec.type;
  attributes.config = spec.config;
  constexpr int kAnyProcess = -1, kNoGroup = -1;
  const long file = ::syscall(SYS_perf_event_open, &attributes, kAnyProcess, spec.cpu, kNoGroup,
                              PERF_FLAG_FD_CLOEXEC);
  if (file < 0) return nullptr;
  return std::make_unique<KernelPerfEvent>(static_cast<int>(file));
}

}  // namespace parallel_opt
