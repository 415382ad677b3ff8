#include "server/images/image_store.h"

#include <utility>

namespace concertina {
namespace {

int64_t FileBytes(const StoredImage& image) { return static_cast<int64_t>(image.file->size()); }

int64_t PixelBytes(const StoredImage& image) {
  if (image.prepared == nullptr) return 0;
  return static_cast<int64_t>(image.prepared->pixels.size() * sizeof(float));
}

}  // namespace

bool ImageStore::Put(const std::string& sha256, StoredImage image) {
  const std::lock_guard lock(mutex_);
  if (const auto found = by_sha256_.find(sha256); found != by_sha256_.end()) Erase(found->second);
  if (FileBytes(image) > capacity_bytes_) return false;
  bytes_ += FileBytes(image) + PixelBytes(image);
  order_.push_front({sha256, std::move(image)});
  by_sha256_[sha256] = order_.begin();
  Shrink();
  return true;
}

std::optional<StoredImage> ImageStore::Get(const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  const auto found = by_sha256_.find(sha256);
  if (found == by_sha256_.end()) return std::nullopt;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->image;
}

int64_t ImageStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

int64_t ImageStore::images() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(order_.size());
}

void ImageStore::Erase(Order::iterator node) {
  bytes_ -= FileBytes(node->image) + PixelBytes(node->image);
  by_sha256_.erase(node->sha256);
  order_.erase(node);
}

void ImageStore::Shrink() {
  for (auto node = order_.rbegin(); bytes_ > capacity_bytes_ && node != order_.rend(); ++node) {
    bytes_ -= PixelBytes(node->image);
    node->image.prepared = nullptr;
  }
  // The newest file fits by itself (see Put), so this ends before it.
  while (bytes_ > capacity_bytes_) Erase(std::prev(order_.end()));
}

}  // namespace concertina
