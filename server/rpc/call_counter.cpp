#include "server/rpc/call_counter.h"

namespace concertina {

CallCounter::Counts CallCounter::Enter(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  return {all_++, by_peer_[peer]++};
}

void CallCounter::Leave(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  --all_;
  const auto found = by_peer_.find(peer);
  if (--found->second == 0) by_peer_.erase(found);
}

int32_t CallCounter::in_flight() const {
  const std::lock_guard lock(mutex_);
  return all_;
}

}  // namespace concertina
