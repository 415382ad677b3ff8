#include "models/tuning/choose.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <tuple>
#include <vector>

#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

double FewSeconds(const TypeRates& rates) { return std::sqrt(rates.seconds[0] * rates.seconds[1]); }
double ManySeconds(const TypeRates& rates) { return rates.seconds[2]; }

// One or two copies, and what they come to.
struct Plan {
  const TypeRates* few;
  const TypeRates* many;

  bool paired() const { return few->type != many->type; }
  double seconds() const { return std::sqrt(FewSeconds(*few) * ManySeconds(*many)); }
  double bytes() const {
    return few->bytes_per_parameter + (paired() ? many->bytes_per_parameter : 0);
  }
  // Among equally fast plans the least.
  auto preference() const {
    return std::tuple(!IsDeterministic(few->type) || !IsDeterministic(many->type), bytes());
  }
};

// A wanted type needs no leave; f32 is what is left when nothing else is.
bool Fits(const Plan& plan, const WantedTypes& wanted) {
  if (plan.few->type == MatrixType::kF32 && !plan.paired()) return true;
  if (wanted.few.has_value() && wanted.many.has_value()) return true;
  const auto good = [&](MatrixType type) {
    return type == wanted.few || type == wanted.many || PerplexityCost(type) <= kPerplexityCostMax;
  };
  return good(plan.few->type) && good(plan.many->type) && plan.bytes() <= kBytesPerParameterMax;
}

std::vector<Plan> Plans(std::span<const TypeRates> rates, const WantedTypes& wanted) {
  std::vector<Plan> plans;
  for (const TypeRates& few : rates) {
    for (const TypeRates& many : rates) {
      const Plan plan{&few, &many};
      if (wanted.few.value_or(few.type) != few.type) continue;
      if (wanted.many.value_or(many.type) != many.type) continue;
      if (Fits(plan, wanted)) plans.push_back(plan);
    }
  }
  return plans;
}

// The fastest plan, or one as fast that is preferred; null if there is none.
const Plan* Best(const std::vector<const Plan*>& plans) {
  const auto slower = [](const Plan* a, const Plan* b) { return a->seconds() < b->seconds(); };
  const auto fastest = std::min_element(plans.begin(), plans.end(), slower);
  if (fastest == plans.end()) return nullptr;
  const Plan* best = *fastest;
  for (const Plan* plan : plans) {
    const bool as_fast = plan->seconds() <= kTieMargin * (*fastest)->seconds();
    if (as_fast && plan->preference() < best->preference()) best = plan;
  }
  return best;
}

bool WorthTwoCopies(const Plan& pair, const Plan& single) {
  const double few_gain = FewSeconds(*single.few) / FewSeconds(*pair.few);
  const double many_gain = ManySeconds(*single.many) / ManySeconds(*pair.many);
  return std::max(few_gain, many_gain) >= kPairGain &&
         std::min(few_gain, many_gain) >= 1 / kTieMargin;
}

}  // namespace

ChosenTypes ChooseTypes(std::span<const TypeRates> rates, const WantedTypes& wanted) {
  const std::vector<Plan> plans = Plans(rates, wanted);
  const auto with = [&](auto predicate) {
    std::vector<const Plan*> some;
    for (const Plan& plan : plans) {
      if (predicate(plan)) some.push_back(&plan);
    }
    return some;
  };
  // One copy of f32 takes more than all may take together: for when nothing else is there.
  const Plan* single = Best(with(
      [](const Plan& plan) { return !plan.paired() && plan.bytes() <= kBytesPerParameterMax; }));
  if (single == nullptr) single = Best(with([](const Plan& plan) { return !plan.paired(); }));
  const Plan* pair = Best(with([&](const Plan& plan) {
    return plan.paired() && (single == nullptr || WorthTwoCopies(plan, *single));
  }));
  const Plan* const chosen = pair != nullptr ? pair : single;
  assert(chosen != nullptr);
  return {chosen->few->type, chosen->many->type};
}

MatrixType ChooseVisionType(std::span<const TypeRates> rates) {
  const TypeRates* fastest = nullptr;
  for (const TypeRates& rate : rates) {
    if (!AllowedForVision(rate.type)) continue;
    if (fastest == nullptr || ManySeconds(rate) < ManySeconds(*fastest)) fastest = &rate;
  }
  assert(fastest != nullptr);
  const TypeRates* preferred = fastest;
  double limit = kPairGain * ManySeconds(*fastest);
  for (const TypeRates& rate : rates) {
    if (!AllowedForVision(rate.type) || !IsDeterministic(rate.type)) continue;
    if (ManySeconds(rate) > limit) continue;
    preferred = &rate;
    limit = ManySeconds(rate);
  }
  return preferred->type;
}

bool AllowedForVision(MatrixType type) { return type != MatrixType::kStored; }

}  // namespace concertina
