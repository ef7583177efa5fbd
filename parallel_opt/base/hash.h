#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parallel_opt {

/// 64-bit FNV-1a with a final mix: stable over machines and releases, for identities in files. Not
/// cryptographic.
class Hasher {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) step(static_cast<unsigned char>(c));
    step(0xff);  // keeps ("ab", "c") apart from ("a", "bc"): 0xff never occurs in UTF-8
  }
  void add(std::int64_t number) {
    for (int i = 0; i < 8; ++i)
      step(static_cast<unsigned char>(static_cast<std::uint64_t>(number) >> (8 * i)));
  }
  std::uint64_t value() const {
    std::uint64_t h = state_;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    h ^= h >> 33;
    return h;
  }
  /// 16 lower-case hexadecimal digits.
  std::string hex() const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text(16, '0');
    std::uint64_t h = value();
    for (int i = 15; i >= 0; --i, h >>= 4) text[static_cast<std::size_t>(i)] = kDigits[h & 15];
    return text;
  }

 private:
  void step(unsigned char byte) {
    state_ ^= byte;
    state_ *= 0x100000001b3ULL;
  }
  std::uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace parallel_opt
