#include "parallel_opt/plan/communication.h"

namespace parallel_opt {

std::vector<CommunicationWork> listed(const ByCommunication& seconds) {
  std::vector<CommunicationWork> list;
  for (std::size_t i = 0; i < kCommunications; ++i) {
    if (seconds.all[i] > 0) list.push_back({static_cast<Communication>(i), seconds.all[i]});
  }
  return list;
}

ByCommunication by_kind(const std::vector<CommunicationWork>& list) {
  ByCommunication seconds;
  for (const CommunicationWork& one : list) seconds[one.kind] += one.seconds;
  return seconds;
}

}  // namespace parallel_opt
