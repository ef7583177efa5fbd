#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace parallel_opt {

/// What the allocator may do and has. Rules as in PyTorch 2.4 to 2.13
/// (c10/cuda/CUDACachingAllocator.cpp).
struct AllocatorSettings {
  bool expandable_segments = false;          ///< PYTORCH_ALLOC_CONF=expandable_segments:True
  std::int64_t capacity_bytes = INT64_MAX;   ///< of the device; beyond it cached segments go first
  std::int64_t max_split_bytes = INT64_MAX;  ///< blocks above are not split (max_split_size_mb)
};

/// PyTorch's caching allocator of one device and stream: what a sequence of requests makes of its
/// segments. Requests are rounded to 512 bytes; up to 1 MiB they come from 2 MiB segments, up to
/// 10 MiB from 20 MiB segments, above from segments of their own rounded to 2 MiB; the smallest
/// block that fits is split when the rest is worth keeping; neighbours that are free merge.
/// O(log n) per request.
class CachingAllocator {
 public:
  using BlockIndex = std::int32_t;

  explicit CachingAllocator(AllocatorSettings settings = {});

  /// A block for `bytes`; empty when the device has no room even without cached segments. Pre:
  /// bytes >= 0.
  std::optional<BlockIndex> allocate(std::int64_t bytes);
  /// Pre: from allocate() or adopt(), not freed since.
  void free(BlockIndex block);
  /// Gives free segments back to the device (torch.cuda.empty_cache).
  void release_cached();

  /// A segment as a snapshot has it: sizes of its blocks in order and which are free. Returns the
  /// blocks.
  std::vector<BlockIndex> adopt(bool small, const std::vector<std::int64_t>& sizes,
                                const std::vector<bool>& is_free);

  std::int64_t allocated_bytes() const { return allocated_; }
  std::int64_t reserved_bytes() const { return reserved_; }
  std::int64_t peak_allocated_bytes() const { return peak_allocated_; }
  std::int64_t peak_reserved_bytes() const { return peak_reserved_; }
  /// Segments that are held now; an expandable one counts once.
  std::int64_t segments() const { return segments_; }

  /// What a request takes: at least 512, a multiple of it.
  static std::int64_t rounded(std::int64_t bytes);
  /// The segment that a rounded request makes when no free block fits.
  static std::int64_t segment_bytes(std::int64_t rounded_bytes);

 private:
  struct Block {
    std::int64_t bytes = 0;
    std::int64_t address = 0;
    BlockIndex before = -1, after = -1;  ///< neighbours in the segment
    bool is_free = false;
    bool small = false;
  };
  struct Order {
    std::int64_t bytes, address;
    BlockIndex index;
    auto operator<=>(const Order&) const = default;
  };
  using Pool = std::set<Order>;

  Pool& pool(const Block& block) { return pools_[block.small ? 0 : 1]; }
  Order order(BlockIndex index) const;
  BlockIndex add_block(const Block& block);
  void put_free(BlockIndex index);
  void take_free(BlockIndex index) { pool(blocks_[std::size_t(index)]).erase(order(index)); }
  BlockIndex take(BlockIndex index, std::int64_t bytes);
  BlockIndex merge(BlockIndex left, BlockIndex right);
  std::optional<BlockIndex> new_segment(bool small, std::int64_t bytes);
  std::optional<BlockIndex> expand(bool small, std::int64_t bytes);
  bool reserve(std::int64_t bytes);
  bool splits(const Block& block, std::int64_t bytes) const;

  AllocatorSettings settings_;
  std::vector<Block> blocks_;
  std::vector<BlockIndex> unused_;  ///< slots of merged blocks
  Pool pools_[2];                   ///< free blocks: small, large
  BlockIndex last_[2] = {-1, -1};   ///< end of the expandable segment of each pool
  std::int64_t next_address_ = 0;
  std::int64_t allocated_ = 0, reserved_ = 0, peak_allocated_ = 0, peak_reserved_ = 0;
  std::int64_t segments_ = 0;
};

}  // namespace parallel_opt
