#pragma once

#include <cstdint>

namespace concertina::testing {

// The full sizes are asked for (CONCERTINA_FULL=1); otherwise a campaign takes 20 s at most.
bool FullCampaign();

// CONCERTINA_SEED, else a fixed one. Prints it, so that a failure can be had again.
uint32_t CampaignSeed();

// What this process holds, with what the allocator keeps for later given back first, bytes.
int64_t ResidentBytes();

// Most that this process has held since the mark.
void MarkPeakResident();
int64_t PeakResidentBytes();

// Under a sanitizer memory and time are the sanitizer's: the figures are printed, not judged.
bool UnderSanitizer();

}  // namespace concertina::testing
