#pragma once

#include <cstdint>
#include <vector>

#include "cache/precision/packed_group.h"

// A group's codes one byte each, into its tiles and out of them.

namespace concertina {

// Codes of a group's keys or values, [entry][channel], with their padding 0.
class GroupCodes {
 public:
  explicit GroupCodes(int64_t channels)
      : channels_(channels), bytes_(static_cast<size_t>(kGroupEntries * channels)) {}
  uint8_t* Row(int64_t entry) { return bytes_.data() + entry * channels_; }
  const uint8_t* Row(int64_t entry) const { return bytes_.data() + entry * channels_; }

 private:
  int64_t channels_;
  std::vector<uint8_t> bytes_;
};

void PackKeys(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group);
void UnpackKeys(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes);
void PackValues(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group);
void UnpackValues(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes);

}  // namespace concertina
