#pragma once

#include <cstdint>
#include <span>

#include "cache/fold_report.h"

namespace concertina {

inline constexpr int32_t kProbeTokensMax = 64;
inline constexpr int32_t kProbeTokensDefault = 8;  // where a floor asks for a probe

// How closely a session's folds are looked at.
struct QualityOptions {
  // Tokens at the end of each prompt that are read again with the folded cache; 0: none.
  int32_t probe_tokens = 0;
  // The least share of them that must be followed by the same token as before; 0: no floor.
  double min_quality = 0;
};

// What a turn's fold left of what there was.
struct TurnQuality {
  // Over layers, of the attention received the part that went to kept entries. Empty (`measured`
  // false) where entries went and the policy counts no attention.
  bool measured = false;
  double mass_kept_mean = 1;
  double mass_kept_lowest = 1;
  int32_t lowest_layer = 0;

  int32_t probe_tokens = 0;  // rows read again; 0: no probe
  int32_t agreeing = 0;      // of them, with the same likeliest next token
  double divergence = 0;     // sum over them, of the folded from the unfolded prediction, in nats

  int64_t budget_entries = 0;       // granted at the fold, summed over layers and KV heads
  int32_t raises = 0;               // how often the prompt was read again with a larger budget
  bool raised_for_quality = false;  // the fold had more than the session asked for
  bool below_min_quality = false;   // the floor was missed nevertheless

  // In [0, 1], and the mean of the divergence. REQUIRES: a probe.
  double agreement() const { return static_cast<double>(agreeing) / probe_tokens; }
  double kl_divergence() const { return divergence / probe_tokens; }
};

// The attention's part of it.
TurnQuality QualityOf(std::span<const FoldReport> folds);

// Adds one more row: what two caches predict after the same token. Both as long.
void AddProbeRow(std::span<const float> unfolded, std::span<const float> folded,
                 TurnQuality* quality);

}  // namespace concertina
