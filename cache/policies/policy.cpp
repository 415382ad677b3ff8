#include "cache/policies/policy.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "cache/anchors.h"
#include "cache/check.h"
#include "cache/head_shares.h"
#include "cache/picture_selection.h"
#include "cache/turn_selection.h"

namespace concertina {
namespace {

// Some of a head's entries, by their places in `shown`.
class SomeEntries final : public EntryReader {
 public:
  SomeEntries(const EntryReader& all, std::span<const int32_t> shown) : all_(all), shown_(shown) {}
  uint32_t Birth(int32_t index) const override { return all_.Birth(shown_[index]); }
  void LoadKey(int32_t index, float* k) const override { all_.LoadKey(shown_[index], k); }

 private:
  const EntryReader& all_;
  std::span<const int32_t> shown_;
};

// The entries that may go, framed by the first and the newest.
std::vector<int32_t> Shown(const DecodeView& head) {
  const auto newest = static_cast<int32_t>(head.scores.size()) - 1;
  std::vector<int32_t> shown = {0};
  if (head.may_go.empty()) {
    for (int32_t i = 1; i < newest; ++i) shown.push_back(i);
  } else {
    shown.insert(shown.end(), head.may_go.begin(), head.may_go.end());
  }
  shown.push_back(newest);
  return shown;
}

Selection All(const LayerView& layer) {
  Selection all;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    const int32_t first = layer.equal() ? 0 : layer.first[head];
    all.emplace_back(static_cast<size_t>(layer.entries - first));
    std::iota(all.back().begin(), all.back().end(), first);
  }
  return all;
}

// Of one head, the `count` entries that stay.
std::vector<int32_t> SelectHead(const std::vector<float>& worth, const Ranking& ranking,
                                int32_t count, const uint32_t* birth, int64_t seen_after,
                                const TurnRules& rules) {
  const bool pictures = rules.limits_pictures();
  if (rules.none() && !pictures) {
    return SelectAround(worth, count, ranking.sinks, ranking.recent);
  }
  const BirthOf birth_of = [birth](int32_t index) { return int64_t{birth[index]}; };
  const std::vector<uint64_t> order = OrderKeys(worth, ranking.sinks, ranking.recent);
  return pictures ? SelectWithPictures(order, birth_of, count, rules)
                  : SelectByTurns(order, birth_of, count, seen_after, rules);
}

}  // namespace

LayerView LayerView::HeadAlone(int32_t head) const {
  const int32_t begin = equal() ? 0 : first[head];
  const int64_t at = head * capacity + begin;
  LayerView alone = *this;
  alone.kv_heads = 1;
  alone.entries = entries - begin;
  alone.k += at * head_dim;
  alone.v += at * head_dim;
  alone.score += at;
  alone.birth += at;
  alone.first = {};
  return alone;
}

std::vector<float> MeanScores(const LayerView& layer) {
  std::vector<float> means(static_cast<size_t>(layer.entries));
  for (int32_t i = 0; i < layer.entries; ++i) {
    double sum = 0;
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      sum += static_cast<double>(layer.Scores(h)[i]);
    }
    means[i] = static_cast<float>(sum / layer.kv_heads);
  }
  return means;
}

Selection Policy::Select(const LayerView& layer, int32_t keep, const TurnRules& rules) const {
  if (splits_heads()) {
    return SelectSplit(layer, keep, rules);
  }
  const int32_t count = KeptCount(keep, layer.entries);
  if (count == layer.entries) {
    return All(layer);
  }
  const Ranking ranking = DoRank(layer, count);
  const size_t rankings = ranking.worth.size();
  CONCERTINA_CHECK(rankings == 1 || rankings == static_cast<size_t>(layer.kv_heads),
                   "a policy must rank for every KV head, or once for all");
  Selection kept;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    const std::vector<float>& worth = ranking.worth[rankings == 1 ? 0 : head];
    CONCERTINA_CHECK(worth.size() == static_cast<size_t>(layer.entries),
                     "a policy must rank every entry");
    kept.push_back(head > 0 && rankings == 1 && rules.none() && !rules.limits_pictures()
                       ? kept.front()
                       : SelectHead(worth, ranking, count, layer.birth + head * layer.capacity,
                                    layer.seen_after, rules));
  }
  return kept;
}

Selection Policy::SelectSplit(const LayerView& layer, int32_t keep, const TurnRules& rules) const {
  CONCERTINA_CHECK(!rules.limits_pictures(), "pictures have budgets where heads keep the same");
  if (keep >= layer.entries) {
    return All(layer);
  }
  std::vector<LayerView> heads;
  std::vector<Ranking> rankings;
  std::vector<std::vector<float>> worth;
  std::vector<int32_t> holds;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    heads.push_back(layer.HeadAlone(head));
    holds.push_back(heads.back().entries);
    rankings.push_back(DoRank(heads.back(), std::min(keep, holds.back())));
    worth.push_back(std::move(rankings.back().worth.at(0)));
    CONCERTINA_CHECK(worth.back().size() == static_cast<size_t>(holds.back()),
                     "a policy must rank every entry");
  }
  const int32_t share = KeptCount(keep, layer.entries);
  std::vector<int32_t> counts = SplitByWorth(worth, share, rules.floor());
  if (layer.entries_per_page > 0) {
    const int64_t pages = (share + layer.entries_per_page - 1) / layer.entries_per_page;
    FitPages(pages * layer.kv_heads, layer.entries_per_page, holds, rules.floor(), &counts);
  }
  Selection kept;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    kept.push_back(SelectHead(worth[head], rankings[head], counts[head], heads[head].birth,
                              layer.seen_after, rules));
    for (int32_t& index : kept.back()) {
      index += layer.equal() ? 0 : layer.first[head];
    }
  }
  return kept;
}

std::vector<float> Policy::Concentration(const LayerView& /*layer*/) const { return {}; }

std::vector<double> Policy::LayerWeights(std::span<const std::vector<float>> /*concentrations*/,
                                         int64_t /*total*/) const {
  return {};
}

MergedHead Policy::Merge(const HeadEntries& head, std::span<const int32_t> kept) const {
  return MergeBuckets(head, kept, MergeMode::kNone, /*pure_sink=*/false);
}

int32_t Policy::Victim(const DecodeView& head, const TurnRules& rules) const {
  const auto entries = static_cast<int32_t>(head.scores.size());
  CONCERTINA_CHECK(entries >= 3, "the first and the newest entry are never deleted");
  std::vector<int32_t> by_turns;
  DecodeView view = head;
  if (!rules.none()) {
    CONCERTINA_CHECK(head.may_go.empty(), "turn rules say which entries may go");
    const auto birth = [&head](int32_t index) { return int64_t{head.entries->Birth(index)}; };
    by_turns = VictimsByTurns(birth, entries, head.cap, rules);
    view.may_go = by_turns;
  }
  if (!view.may_go.empty()) return Victims(view, 1).front();
  const int32_t victim = DoVictim(view);
  CONCERTINA_CHECK(victim >= 1 && victim <= entries - 2,
                   "a policy must not delete the first or the newest entry");
  return victim;
}

std::vector<int32_t> Policy::Victims(const DecodeView& head, int32_t count) const {
  const std::vector<int32_t> shown = Shown(head);
  CONCERTINA_CHECK(count <= static_cast<int32_t>(shown.size()) - 2, "too few entries may go");
  std::vector<float> scores;
  std::vector<uint32_t> births;
  for (const int32_t index : shown) {
    scores.push_back(head.scores[index]);
    if (!head.births.empty()) births.push_back(head.births[index]);
  }
  const SomeEntries some(*head.entries, shown);
  const auto after_fold = std::lower_bound(shown.begin(), shown.end(), head.anchors_at_fold);
  std::vector<int32_t> victims =
      DoVictims({.scores = scores,
                 .cap = static_cast<int32_t>(shown.size()) - 1,
                 .anchors_at_fold = static_cast<int32_t>(after_fold - shown.begin()),
                 .layer = head.layer,
                 .head_dim = head.head_dim,
                 .entries = &some,
                 .births = births},
                count);
  std::ranges::sort(victims);
  CONCERTINA_CHECK(static_cast<int32_t>(victims.size()) == count && victims.front() >= 1 &&
                       victims.back() + 1 < static_cast<int32_t>(shown.size()),
                   "a policy must not delete the first or the newest entry");
  for (int32_t& victim : victims) victim = shown[victim];
  return victims;
}

std::vector<int32_t> Policy::DoVictims(const DecodeView& head, int32_t count) const {
  std::vector<int32_t> left(head.scores.size());
  std::iota(left.begin(), left.end(), 0);
  std::vector<float> scores(head.scores.begin(), head.scores.end());
  std::vector<uint32_t> births(head.births.begin(), head.births.end());
  std::vector<int32_t> victims;
  for (; count > 0; --count) {
    const SomeEntries some(*head.entries, left);
    const auto after_fold = std::lower_bound(left.begin(), left.end(), head.anchors_at_fold);
    DecodeView now = head;
    now.scores = scores;
    now.cap = static_cast<int32_t>(left.size()) - 1;
    now.anchors_at_fold = static_cast<int32_t>(after_fold - left.begin());
    now.entries = &some;
    now.births = births;
    const int32_t victim = DoVictim(now);
    victims.push_back(left.at(static_cast<size_t>(victim)));
    left.erase(left.begin() + victim);
    scores.erase(scores.begin() + victim);
    if (!births.empty()) births.erase(births.begin() + victim);
  }
  return victims;
}

}  // namespace concertina
