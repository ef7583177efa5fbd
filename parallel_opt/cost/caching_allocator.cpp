#include "parallel_opt/cost/caching_allocator.h"

#include <algorithm>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kLeastBlock = 512;
constexpr std::int64_t kSmall = kMiB;  // requests up to here share small segments
constexpr std::int64_t kSmallSegment = 2 * kMiB;
constexpr std::int64_t kLargeSegment = 20 * kMiB;
constexpr std::int64_t kOwnSegment = 10 * kMiB;  // from here on a request has its own
constexpr std::int64_t kRoundSegment = 2 * kMiB;
constexpr std::int64_t kAddressGap = std::int64_t(1) << 42;  // no two segments are neighbours

std::int64_t up(std::int64_t bytes, std::int64_t step) { return (bytes + step - 1) / step * step; }

}  // namespace

CachingAllocator::CachingAllocator(AllocatorSettings settings) : settings_(settings) {}

std::int64_t CachingAllocator::rounded(std::int64_t bytes) {
  return std::max(kLeastBlock, up(bytes, kLeastBlock));
}

std::int64_t CachingAllocator::segment_bytes(std::int64_t bytes) {
  if (bytes <= kSmall) return kSmallSegment;
  return bytes < kOwnSegment ? kLargeSegment : up(bytes, kRoundSegment);
}

CachingAllocator::Order CachingAllocator::order(BlockIndex index) const {
  const Block& block = blocks_[std::size_t(index)];
  return {block.bytes, block.address, index};
}

CachingAllocator::BlockIndex CachingAllocator::add_block(const Block& block) {
  if (!unused_.empty()) {
    const BlockIndex index = unused_.back();
    unused_.pop_back();
    blocks_[std::size_t(index)] = block;
    return index;
  }
  blocks_.push_back(block);
  return BlockIndex(blocks_.size() - 1);
}

void CachingAllocator::put_free(BlockIndex index) {
  Block& block = blocks_[std::size_t(index)];
  block.is_free = true;
  pool(block).insert(order(index));
}

bool CachingAllocator::reserve(std::int64_t bytes) {
  if (reserved_ + bytes > settings_.capacity_bytes) {
    release_cached();
    if (reserved_ + bytes > settings_.capacity_bytes) return false;
  }
  reserved_ += bytes;
  peak_reserved_ = std::max(peak_reserved_, reserved_);
  return true;
}

std::optional<CachingAllocator::BlockIndex> CachingAllocator::new_segment(bool small,
                                                                          std::int64_t bytes) {
  const std::int64_t size = segment_bytes(bytes);
  if (!reserve(size)) return std::nullopt;
  ++segments_;
  next_address_ += kAddressGap;
  return add_block({size, next_address_, -1, -1, false, small});
}

/// One segment per pool grows by pages; what is free at its end is used first.
std::optional<CachingAllocator::BlockIndex> CachingAllocator::expand(bool small,
                                                                     std::int64_t bytes) {
  BlockIndex& last = last_[small ? 0 : 1];
  const std::int64_t page = small ? kSmallSegment : kLargeSegment;
  const bool reuses = last >= 0 && blocks_[std::size_t(last)].is_free;
  const std::int64_t at_end = reuses ? blocks_[std::size_t(last)].bytes : 0;
  const std::int64_t more = up(bytes - at_end, page);
  if (!reserve(more)) return std::nullopt;
  if (reuses && last >= 0 && blocks_[std::size_t(last)].is_free) {
    take_free(last);
    blocks_[std::size_t(last)].is_free = false;
    blocks_[std::size_t(last)].bytes += more;
    return last;
  }
  Block block{more, 0, last, -1, false, small};
  if (last < 0) {
    ++segments_;
    next_address_ += kAddressGap;
    block.address = next_address_;
  } else {
    const Block& end = blocks_[std::size_t(last)];
    block.address = end.address + end.bytes;
  }
  const BlockIndex index = add_block(block);
  if (last >= 0) blocks_[std::size_t(last)].after = index;
  last = index;
  return index;
}

bool CachingAllocator::splits(const Block& block, std::int64_t bytes) const {
  const std::int64_t rest = block.bytes - bytes;
  if (block.small || settings_.expandable_segments) return rest >= kLeastBlock;
  return bytes < settings_.max_split_bytes && rest > kSmall;
}

/// The first `bytes` of a block; the rest becomes a free block where that is worth it.
CachingAllocator::BlockIndex CachingAllocator::take(BlockIndex index, std::int64_t bytes) {
  if (!splits(blocks_[std::size_t(index)], bytes)) return index;
  const Block whole = blocks_[std::size_t(index)];
  const BlockIndex rest = add_block(
      {whole.bytes - bytes, whole.address + bytes, index, whole.after, true, whole.small});
  Block& first = blocks_[std::size_t(index)];
  first.bytes = bytes;
  first.after = rest;
  if (whole.after >= 0) blocks_[std::size_t(whole.after)].before = rest;
  if (last_[whole.small ? 0 : 1] == index) last_[whole.small ? 0 : 1] = rest;
  put_free(rest);
  return index;
}

std::optional<CachingAllocator::BlockIndex> CachingAllocator::allocate(std::int64_t bytes) {
  const std::int64_t size = rounded(bytes);
  const bool small = size <= kSmall;
  Pool& free_blocks = pools_[small ? 0 : 1];
  std::optional<BlockIndex> found;
  const auto it = free_blocks.lower_bound({size, INT64_MIN, -1});
  // Blocks that may not be split serve requests of their own kind only.
  const bool fits = it != free_blocks.end() &&
                    (size >= settings_.max_split_bytes || it->bytes < settings_.max_split_bytes);
  if (fits) {
    found = it->index;
    free_blocks.erase(it);
    blocks_[std::size_t(*found)].is_free = false;
  } else {
    found = settings_.expandable_segments ? expand(small, size) : new_segment(small, size);
  }
  if (!found) return std::nullopt;
  const BlockIndex index = take(*found, size);
  allocated_ += blocks_[std::size_t(index)].bytes;
  peak_allocated_ = std::max(peak_allocated_, allocated_);
  return index;
}

/// `right` joins `left`; both are free and in no pool.
CachingAllocator::BlockIndex CachingAllocator::merge(BlockIndex left, BlockIndex right) {
  Block &a = blocks_[std::size_t(left)], &b = blocks_[std::size_t(right)];
  a.bytes += b.bytes;
  a.after = b.after;
  if (b.after >= 0) blocks_[std::size_t(b.after)].before = left;
  if (last_[a.small ? 0 : 1] == right) last_[a.small ? 0 : 1] = left;
  unused_.push_back(right);
  return left;
}

void CachingAllocator::free(BlockIndex index) {
  PO_CHECK(
      index >= 0 && std::size_t(index) < blocks_.size() && !blocks_[std::size_t(index)].is_free,
      "the block is in use");
  allocated_ -= blocks_[std::size_t(index)].bytes;
  const BlockIndex after = blocks_[std::size_t(index)].after;
  if (after >= 0 && blocks_[std::size_t(after)].is_free) {
    take_free(after);
    merge(index, after);
  }
  const BlockIndex before = blocks_[std::size_t(index)].before;
  if (before >= 0 && blocks_[std::size_t(before)].is_free) {
    take_free(before);
    index = merge(before, index);
  }
  put_free(index);
}

void CachingAllocator::release_cached() {
  for (Pool& free_blocks : pools_) {
    std::vector<BlockIndex> whole;
    for (const Order& one : free_blocks) {
      const Block& block = blocks_[std::size_t(one.index)];
      if (block.before < 0 && block.after < 0) whole.push_back(one.index);
    }
    for (const BlockIndex index : whole) {
      Block& block = blocks_[std::size_t(index)];
      take_free(index);
      reserved_ -= block.bytes;
      --segments_;
      if (last_[block.small ? 0 : 1] == index) last_[block.small ? 0 : 1] = -1;
      unused_.push_back(index);
    }
  }
}

std::vector<CachingAllocator::BlockIndex> CachingAllocator::adopt(
    bool small, const std::vector<std::int64_t>& sizes, const std::vector<bool>& is_free) {
  PO_CHECK(sizes.size() == is_free.size(), "one state per block");
  std::vector<BlockIndex> blocks;
  next_address_ += kAddressGap;
  std::int64_t address = next_address_;
  ++segments_;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const BlockIndex before = blocks.empty() ? -1 : blocks.back();
    const BlockIndex index = add_block({sizes[i], address, before, -1, false, small});
    if (before >= 0) blocks_[std::size_t(before)].after = index;
    blocks.push_back(index);
    address += sizes[i];
    reserved_ += sizes[i];
    if (is_free[i]) {
      put_free(index);
    } else {
      allocated_ += sizes[i];
    }
  }
  peak_allocated_ = std::max(peak_allocated_, allocated_);
  peak_reserved_ = std::max(peak_reserved_, reserved_);
  return blocks;
}

}  // namespace parallel_opt
