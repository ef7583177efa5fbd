#include "parallel_opt/hardware/probe_host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

namespace parallel_opt {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void pin(int core) {
  if (core < 0 || core >= CPU_SETSIZE) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  // Not allowed in some sandboxes; the measurement is then of wherever the kernel puts the thread.
  (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

using Buffer = std::unique_ptr<char[]>;

Buffer filled(std::int64_t bytes) {
  Buffer buffer(new char[static_cast<std::size_t>(bytes)]);
  std::memset(buffer.get(), 1, static_cast<std::size_t>(bytes));
  return buffer;
}

/// A compiler may not drop a copy whose target it thinks is read here.
void used(const char* p) { asm volatile("" : : "r"(p) : "memory"); }

/// Small copies are repeated within a round, so that the clock's own cost does not count.
int repeats_for(std::int64_t bytes) {
  constexpr std::int64_t kLeastBytes = 8'388'608;
  return static_cast<int>(
      std::max<std::int64_t>(1, kLeastBytes / std::max<std::int64_t>(1, bytes)));
}

/// One mailbox in shared memory: a flag counts messages and answers.
class Mailbox {
 public:
  explicit Mailbox(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
    shared_ = filled(bytes);
  }
  void send(const char* from) {
    std::memcpy(shared_.get(), from, bytes_);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_one();
  }
  void receive(char* to, int after) {
    while (turn_.load(std::memory_order_acquire) <= after) {
      turn_.wait(after, std::memory_order_acquire);
    }
    std::memcpy(to, shared_.get(), bytes_);
  }

 private:
  std::size_t bytes_;
  Buffer shared_;
  std::atomic<int> turn_{0};
};

/// Two connected sockets of 127.0.0.1; both -1 when that is not possible.
class Connection {
 public:
  Connection() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) return;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener, generic, length) == 0 && ::listen(listener, 1) == 0 &&
        ::getsockname(listener, generic, &length) == 0) {
      ends_[0] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (ends_[0] >= 0 && ::connect(ends_[0], generic, length) == 0) {
        ends_[1] = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      }
    }
    ::close(listener);
    const int yes = 1;
    for (const int end : ends_) {
      if (end >= 0) ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
  }
  ~Connection() {
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  bool open() const { return ends_[0] >= 0 && ends_[1] >= 0; }
  /// Both return false when the other end is gone.
  bool send(int end, const char* from, std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = ::send(ends_[end], from + done, bytes - done, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }
  bool receive(int end, char* to, std::size_t bytes) const {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t n = ::recv(ends_[end], to + done, bytes - done, 0);
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }
  void shut() const { ::shutdown(ends_[0], SHUT_RDWR); }

 private:
  int ends_[2] = {-1, -1};
};

/// Runs `echo` on the last core and the rounds on the first one, in threads of our own.
template <class Echo, class Round>
Timing ping_pong(const std::vector<int>& cores, const RepeatLimits& limits, Echo echo,
                 Round round) {
  Timing timing;
  std::thread far([&] {
    pin(cores.back());
    echo();
  });
  std::thread near([&] {
    pin(cores.front());
    timing = repeat_until_stable(round.body, limits);
    round.end();
  });
  near.join();
  far.join();
  return timing;
}

struct Round {
  std::function<double()> body;
  std::function<void()> end;
};

Timing shared_memory(std::int64_t bytes, const std::vector<int>& cores,
                     const RepeatLimits& limits) {
  Mailbox there(bytes);
  Mailbox back(bytes);
  const Buffer near = filled(bytes);
  const Buffer far = filled(bytes);
  std::atomic<bool> done{false};
  int sent = 0;
  const auto echo = [&] {
    for (int i = 0;; ++i) {
      there.receive(far.get(), i);
      if (done.load(std::memory_order_acquire)) return;
      back.send(far.get());
    }
  };
  const Round round{[&] {
                      const auto start = Clock::now();
                      there.send(near.get());
                      back.receive(near.get(), sent++);
                      return seconds_since(start) / 2;
                    },
                    [&] {
                      done.store(true, std::memory_order_release);
                      there.send(near.get());
                    }};
  return ping_pong(cores, limits, echo, round);
}

Timing loopback(const Connection& connection, std::int64_t bytes, const std::vector<int>& cores,
                const RepeatLimits& limits) {
  const auto size = static_cast<std::size_t>(bytes);
  const Buffer near = filled(bytes);
  const Buffer far = filled(bytes);
  const auto echo = [&] {
    while (connection.receive(1, far.get(), size) && connection.send(1, far.get(), size)) {
    }
  };
  const Round round{[&] {
                      const auto start = Clock::now();
                      if (connection.send(0, near.get(), size)) {
                        connection.receive(0, near.get(), size);
                      }
                      return seconds_since(start) / 2;
                    },
                    [&] { connection.shut(); }};
  return ping_pong(cores, limits, echo, round);
}

}  // namespace

Timing time_copy(std::int64_t bytes, const std::vector<int>& cores, const RepeatLimits& limits) {
  const auto threads = static_cast<std::int64_t>(cores.size());
  const std::int64_t part = std::max<std::int64_t>(64, bytes / 2 / threads);
  const int repeats = repeats_for(bytes);
  std::barrier gate(threads);
  std::atomic<bool> done{false};
  Timing timing;
  const auto copy = [&](const Buffer& to, const Buffer& from) {
    for (int i = 0; i < repeats; ++i) {
      std::memcpy(to.get(), from.get(), static_cast<std::size_t>(part));
      used(to.get());
    }
  };
  const auto work = [&](std::size_t index) {
    pin(cores[index]);
    const Buffer from = filled(part);  // by the thread itself: its pages lie near its core
    const Buffer to = filled(part);
    const auto round = [&] {
      gate.arrive_and_wait();
      const auto start = Clock::now();
      copy(to, from);
      gate.arrive_and_wait();
      return seconds_since(start) / repeats;
    };
    if (index == 0) {
      timing = repeat_until_stable(round, limits);
      done.store(true);
      gate.arrive_and_wait();
      return;
    }
    while (true) {
      gate.arrive_and_wait();
      if (done.load()) return;
      copy(to, from);
      gate.arrive_and_wait();
    }
  };
  std::vector<std::thread> pool;
  pool.reserve(cores.size());
  for (std::size_t i = 0; i < cores.size(); ++i) pool.emplace_back(work, i);
  for (std::thread& thread : pool) thread.join();
  return timing;
}

std::optional<Timing> time_transfer(Transport transport, std::int64_t bytes,
                                    const std::vector<int>& cores, const RepeatLimits& limits) {
  if (transport == Transport::shared_memory) return shared_memory(bytes, cores, limits);
  const Connection connection;
  if (!connection.open()) return std::nullopt;
  return loopback(connection, bytes, cores, limits);
}

}  // namespace parallel_opt
