#include "server/rpc/outbox.h"

#include <chrono>
#include <utility>

namespace concertina {
namespace {

constexpr std::chrono::milliseconds kRestPerMessage{1};

}  // namespace

Outbox::Outbox() : thread_([this] { Run(); }) {}

Outbox::~Outbox() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Outbox::Add(std::shared_ptr<Sender> sender) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = senders_.empty();
    senders_.push_back(std::move(sender));
  }
  if (first) wake_.notify_one();
}

void Outbox::Run() {
  std::vector<std::shared_ptr<Sender>> senders;  // the two lists take turns, and keep their memory
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !senders_.empty(); });
    if (senders_.empty()) return;
    senders.swap(senders_);
    lock.unlock();
    const auto begin = std::chrono::steady_clock::now();
    for (const std::shared_ptr<Sender>& sender : senders) sender->Send();
    const auto rest = kRestPerMessage * static_cast<int64_t>(senders.size());
    senders.clear();
    lock.lock();
    wake_.wait_until(lock, begin + rest, [this] { return stopping_; });
  }
}

}  // namespace concertina
