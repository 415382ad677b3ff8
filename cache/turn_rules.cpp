#include "cache/turn_rules.h"

#include <algorithm>
#include <cmath>

namespace concertina {

const TokenSpan* SpanWith(int64_t token, std::span<const TokenSpan> spans) {
  const auto after =
      std::upper_bound(spans.begin(), spans.end(), token,
                       [](int64_t value, const TokenSpan& span) { return value < span.first; });
  if (after == spans.begin()) return nullptr;
  const TokenSpan& span = *(after - 1);
  return token < span.first + span.count ? &span : nullptr;
}

void TurnRules::BeginTurn(int64_t first, std::span<const TokenSpan> pins,
                          std::span<const TokenSpan> pictures) {
  turn_starts_.push_back(first);
  for (const TokenSpan& pin : pins) {
    pins_.push_back(pin);
    pinned_ += pin.count;
  }
  pictures_.insert(pictures_.end(), pictures.begin(), pictures.end());
}

void TurnRules::Clear() {
  pins_.clear();
  pinned_ = 0;
  pictures_.clear();
  turn_starts_.clear();
}

int32_t TurnRules::MostOf(const TokenSpan& picture) const {
  const double most = std::floor(image_share_ * static_cast<double>(picture.count));
  return std::max(1, static_cast<int32_t>(most));
}

bool TurnRules::Pinned(int64_t birth) const { return SpanWith(birth, pins_) != nullptr; }

int32_t TurnRules::floor() const {
  return static_cast<int32_t>(FloorWithPins(pinned_, !pins_.empty() && pins_.front().first == 0));
}

int64_t FloorWithPins(int64_t pinned, bool first_pinned) { return pinned + (first_pinned ? 1 : 2); }

}  // namespace concertina
