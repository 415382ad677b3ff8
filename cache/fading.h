#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/budget.h"

namespace concertina {

// A budget that does not grow with the conversation is shared by more and more turns, and what old
// ones left would crowd out what was said last. So that it does not, worth fades with what has been
// said since.

// False: a ratio, which grows with the conversation.
inline bool Fades(const Budget& budget) { return budget.unit != Budget::Unit::kRatio; }

// Tokens of later turns by which the worth of an entry halves: a third of the entries that the
// budget buys per head, the mean over the layers. `shares`: what it would buy were all entries
// there still.
double FadingHalfLife(std::span<const int32_t> shares);

// One factor for every turn, 1 for the last two: by what the entries of a turn are worth less for
// the tokens from its end to the beginning of the last turn, whose prompt is being folded.
// `turn_starts`: TurnRules::turn_starts().
std::vector<float> FadingByTurn(std::span<const int64_t> turn_starts, double half_life);

// Multiplies what entries are worth by their turn's factor. `birth`: ascending, as many as `worth`.
void Fade(std::span<const int64_t> turn_starts, std::span<const float> factors,
          const uint32_t* birth, std::span<float> worth);

}  // namespace concertina
