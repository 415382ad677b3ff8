#include "server/engine/feature_cache.h"

#include <utility>

namespace concertina {
namespace {

int64_t BytesOf(const FeatureCache::Features& features) {
  return static_cast<int64_t>(features->size() * sizeof(float));
}

}  // namespace

FeatureCache::Features FeatureCache::Find(const std::string& sha256) {
  auto found = by_hash_.find(sha256);
  if (found == by_hash_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->features;
}

void FeatureCache::Insert(const std::string& sha256, Features features) {
  if (by_hash_.contains(sha256)) return;
  bytes_ += BytesOf(features);
  recent_.push_front({sha256, std::move(features)});
  by_hash_[sha256] = recent_.begin();
  while (bytes_ > capacity_bytes_ && recent_.size() > 1) {
    bytes_ -= BytesOf(recent_.back().features);
    by_hash_.erase(recent_.back().sha256);
    recent_.pop_back();
  }
}

}  // namespace concertina
