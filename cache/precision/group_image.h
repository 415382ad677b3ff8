#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/entry_layout.h"
#include "cache/precision/group_kinds.h"
#include "cache/run_tasks.h"

namespace concertina {

// Who made a group: the last fold, or decoding since then.
enum class GroupOrigin : uint8_t { kFold, kDecode };

// A group with its metadata, outside of pages: on its way from one place to another.
struct GroupImage {
  int kind = 0;
  GroupOrigin origin = GroupOrigin::kFold;
  uint32_t present = 0;        // bit i: there is an entry i
  std::vector<uint8_t> codes;  // GroupLayout::bytes()
  std::array<uint32_t, kGroupEntries> births{};
  std::array<uint16_t, kGroupEntries> scores{};

  int members() const { return std::popcount(present); }
};

// An entry that is to be in a group. Either it lies in one, or `k` and `v` say what it is.
struct GroupEntry {
  uint32_t birth = 0;
  uint16_t score = 0;
  int32_t group = -1;  // of the old images
  int32_t index = -1;  // in that group
  const float* k = nullptr;
  const float* v = nullptr;
};

// Groups of one kind, at most `groups` of them, that hold `entries` and nothing else. Entries of an
// old group of the same kind stay there as they are stored as far as the number allows: where it
// does not leave new groups for all entries that are in none, the groups with the fewest left are
// given up, and their entries rounded again with the new ones. Of those what does not fill a group
// goes to holes of those that stay (PutInGroup): the grid of old groups was made for other tokens,
// and had to be widened for what was not rounded yet. `feedback`: of the new groups' keys. `run`:
// rounds new groups.
// REQUIRES: entries by ascending birth, at most 32 x groups.
std::vector<GroupImage> PackGroups(const GroupKinds& kinds, int kind,
                                   std::span<const GroupEntry> entries,
                                   std::span<const GroupImage> old, int32_t groups,
                                   const KeyFeedback& feedback = KeyFeedback(),
                                   RunTasks run = RunInTurn);

}  // namespace concertina
