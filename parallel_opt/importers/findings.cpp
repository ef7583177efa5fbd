#include "parallel_opt/importers/findings.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kMost = 20;

}  // namespace

std::string Place::text() const {
  std::string text = parent != nullptr ? parent->text() : "";
  if (key.empty()) return index == SIZE_MAX ? text : text + "[" + std::to_string(index) + "]";
  if (!text.empty()) text += '.';
  return text.append(key);
}

void Findings::fault(const Place& place, std::string what, std::string hint) {
  if (faults_.size() >= kMost) {
    ++more_;
    return;
  }
  const std::string at = place.text();
  faults_.push_back({at.empty() ? file_ : file_ + ":" + at, std::move(what), std::move(hint)});
}

void Findings::note(const std::string& text) {
  constexpr std::size_t kMostNotes = 100;
  if (!noted_.insert(text).second) return;
  if (notes_.size() < kMostNotes) {
    notes_.push_back(text);
  } else {
    notes_.resize(kMostNotes);
    notes_.push_back("and " + std::to_string(noted_.size() - kMostNotes) + " more notes");
  }
}

bool Findings::full() const { return faults_.size() >= kMost; }

void Findings::throw_if_any() const {
  std::vector<Fault> faults = faults_;
  if (more_ > 0) faults.push_back({file_, "and " + std::to_string(more_) + " more faults", ""});
  parallel_opt::throw_if_any(std::move(faults));
}

}  // namespace parallel_opt
