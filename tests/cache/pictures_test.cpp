// Pictures with a budget of their own: which of their entries stay, and what becomes of the others.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "cache/anchors.h"
#include "cache/picture_merge.h"
#include "cache/picture_selection.h"

namespace concertina {
namespace {

using Indices = std::vector<int32_t>;

TEST(EvenOrderTest, IsVanDerCorputs) {
  EXPECT_EQ(EvenOrder(0), Indices());
  EXPECT_EQ(EvenOrder(1), Indices({0}));
  EXPECT_EQ(EvenOrder(2), Indices({0, 1}));
  EXPECT_EQ(EvenOrder(5), Indices({0, 2, 1, 3, 4}));
  EXPECT_EQ(EvenOrder(8), Indices({0, 4, 2, 6, 1, 5, 3, 7}));
  EXPECT_EQ(EvenOrder(12), Indices({0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11}));
}

TEST(EvenOrderTest, IsAnOrderOfAllWhoseBeginningsAreEven) {
  for (int32_t count = 1; count <= 600; ++count) {
    const Indices order = EvenOrder(count);
    Indices sorted = order;
    std::sort(sorted.begin(), sorted.end());
    Indices all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(sorted, all);
    for (int32_t first = 1; 2 * first <= count; first *= 2) {
      Indices begin(order.begin(), order.begin() + first);
      std::sort(begin.begin(), begin.end());
      for (int32_t i = 0; i < first; ++i) {
        ASSERT_EQ(begin[i], int64_t{i} * count / first) << count << ", the first " << first;
      }
    }
  }
}

// Twenty entries, of which tokens 4 to 11 are a picture that may keep four; later ones are worth
// more.
struct OnePicture {
  explicit OnePicture(const std::vector<TokenSpan>& pins = {}) : rules(TurnFold::kRefold, 0.5) {
    rules.BeginTurn(0, pins, std::vector<TokenSpan>{{4, 8}});
    for (int i = 0; i < 20; ++i) {
      scores.push_back(static_cast<float>(i));
    }
  }
  Indices Select(int32_t keep) const {
    return SelectWithPictures(
        OrderKeys(scores, 1, 1), [](int32_t index) { return index; }, keep, rules);
  }

  TurnRules rules;
  std::vector<float> scores;
};

TEST(PictureSelectionTest, HalfIsSpreadAndHalfGoesByWorth) {
  const OnePicture one;
  // Everything that may stay.
  EXPECT_EQ(one.Select(16), (Indices{0, 1, 2, 3, 4, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(one.Select(20), one.Select(16))
      << "a picture keeps no more, whatever there is room for";
  // The text gives way as long as it has half of what is not fixed.
  EXPECT_EQ(one.Select(14), (Indices{0, 3, 4, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(one.Select(10), (Indices{0, 4, 8, 10, 11, 15, 16, 17, 18, 19}));
  // Then both do; the odd one is the text's.
  EXPECT_EQ(one.Select(7), (Indices{0, 4, 11, 16, 17, 18, 19}));
  EXPECT_EQ(one.Select(4), (Indices{0, 4, 18, 19}));
  EXPECT_EQ(one.Select(2), (Indices{0, 19}));
}

TEST(PictureSelectionTest, WhatIsThereAndNotTakenIsSpread) {
  OnePicture one;
  // Of the picture, tokens 5 to 11 are left.
  const std::vector<int64_t> births = {0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 19};
  const std::vector<float> scores = {9, 1, 0, 0, 0, 0, 0, 3, 3, 1, 1};
  const Indices kept = SelectWithPictures(
      OrderKeys(scores, 1, 1), [&](int32_t index) { return births[index]; }, 8, one.rules);
  // Order of places 0 4 2 6 ...: births 8 and 6; by worth 10 and 11.
  EXPECT_EQ(kept, (Indices{0, 1, 3, 5, 7, 8, 9, 10}));
}

TEST(PictureSelectionTest, PinsAreBesideTheBudget) {
  // Two of four are pinned already.
  EXPECT_EQ(OnePicture({{6, 2}}).Select(16),
            (Indices{0, 1, 2, 3, 4, 6, 7, 11, 12, 13, 14, 15, 16, 17, 18, 19}));
  // All of them, and no other is taken.
  const Indices all = OnePicture({{4, 8}}).Select(20);
  EXPECT_EQ(all.size(), 20U);
}

TEST(PictureSelectionTest, PicturesShareByWhatTheyMayKeep) {
  TurnRules rules(TurnFold::kRefold, 0.25);
  rules.BeginTurn(0, {}, std::vector<TokenSpan>{{1, 40}, {50, 8}, {60, 3}});
  EXPECT_EQ(rules.MostOf({1, 40}), 10);
  EXPECT_EQ(rules.MostOf({50, 8}), 2);
  EXPECT_EQ(rules.MostOf({60, 3}), 1) << "one at least";
  std::vector<float> scores(100, 1.0F);
  const auto held = [&](int32_t keep) {
    std::vector<int> of(4);
    for (const int32_t index :
         SelectWithPictures(OrderKeys(scores, 1, 1), [](int32_t i) { return i; }, keep, rules)) {
      ++of[index >= 1 && index < 41    ? 0
           : index >= 50 && index < 58 ? 1
           : index >= 60 && index < 63 ? 2
                                       : 3];
    }
    return of;
  };
  EXPECT_EQ(held(100), (std::vector<int>{10, 2, 1, 49}));
  EXPECT_EQ(held(28), (std::vector<int>{10, 2, 1, 15}));
  EXPECT_EQ(held(15), (std::vector<int>{4, 1, 1, 9}));
}

TEST(PictureSelectionTest, CountsWhatAPromptMayNotKeep) {
  const auto over = [](int64_t first, int32_t tokens, const std::vector<TokenSpan>& pins,
                       const std::vector<TokenSpan>& pictures) {
    TurnRules rules(TurnFold::kRefold, 0.5);
    rules.BeginTurn(first, pins, pictures);
    return EntriesOverImageBudget(first, tokens, rules);
  };
  EXPECT_EQ(over(0, 20, {}, {}), 0);
  EXPECT_EQ(over(0, 20, {}, {{4, 8}}), 4);
  EXPECT_EQ(over(30, 20, {}, {{34, 8}, {45, 2}}), 5);
  EXPECT_EQ(over(0, 20, {{4, 8}}, {{4, 8}}), 0) << "pinned";
  EXPECT_EQ(over(0, 20, {{6, 2}}, {{4, 8}}), 4);
  // The first and the newest are part of what stays.
  EXPECT_EQ(over(0, 8, {}, {{0, 8}}), 4);
  EXPECT_EQ(over(0, 2, {}, {{0, 2}}), 0) << "one may stay, but both do";
  EXPECT_EQ(over(30, 8, {}, {{30, 8}}), 4);
}

// Positions are quarters of a turn, so that everything is exact.
const RotateFn kQuarters = [](float* key, int64_t delta) {
  for (int64_t i = ((delta % 4) + 4) % 4; i > 0; --i) {
    const float x = key[0];
    key[0] = -key[1];
    key[1] = x;
  }
};

TEST(PictureMergeTest, MeansOfUnrotatedKeysAtTheAnchorsPosition) {
  TurnRules rules(TurnFold::kRefold, 0.5);
  rules.BeginTurn(0, {}, std::vector<TokenSpan>{{1, 6}});
  // Births 0 .. 7; the picture is 1 .. 6. Unrotated keys (8, 0), (0, 4), ... at position = birth.
  std::vector<float> k = {1, 1, 8, 0, 0, 4, 2, 2, 6, 0, 0, 0, 4, 8, 3, 3};
  const std::vector<float> v = {1, 1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 5, 5};
  const std::vector<uint16_t> mass = {1, 1, 3, 1, 1, 2, 1, 1};
  std::vector<uint32_t> births(8);
  std::iota(births.begin(), births.end(), 0);
  for (uint32_t i = 0; i < 8; ++i) {
    kQuarters(k.data() + 2 * i, i);
  }
  const HeadEntries head{
      .k = k.data(), .v = v.data(), .mass = mass.data(), .entries = 8, .head_dim = 2};
  const KeyPositions positions{.birth = births.data(),
                               .of = [](uint32_t birth) { return int64_t{birth}; },
                               .rotate = &kQuarters};
  // 1 and 3 are nearer to 2, 4 and 6 to 5.
  const Indices kept = {0, 2, 5, 7};
  const MergedHead merged = MergePictures(head, kept, rules, positions);
  EXPECT_EQ(merged.mass, (std::vector<uint16_t>{1, 5, 4, 1}));
  // 2: ((8, 0) + 3 (0, 4) + (2, 2)) / 5 = (2, 2.8), rotated by two quarters.
  std::vector<float> at_2 = {2.0F, 2.8F};
  kQuarters(at_2.data(), 2);
  // 5: ((6, 0) + 2 (0, 0) + (4, 8)) / 4 = (2.5, 2), rotated by five.
  std::vector<float> at_5 = {2.5F, 2.0F};
  kQuarters(at_5.data(), 5);
  EXPECT_EQ(merged.k,
            (std::vector<float>{k[0], k[1], at_2[0], at_2[1], at_5[0], at_5[1], k[14], k[15]}));
  // (10 + 3 * 30 + 50) / 5 and (70 + 2 * 90 + 110) / 4, and so on.
  EXPECT_EQ(merged.v, (std::vector<float>{1, 1, 30, 40, 90, 100, 5, 5}));
}

TEST(PictureMergeTest, TiesGoToTheLowerAndNothingGoesToTextPinsOrEnds) {
  TurnRules rules(TurnFold::kRefold, 0.5);
  // Pictures 0 .. 4 and 6 .. 11, the newest in it; text at 5; 7 is pinned.
  rules.BeginTurn(0, std::vector<TokenSpan>{{7, 1}}, std::vector<TokenSpan>{{0, 5}, {6, 6}});
  std::vector<uint32_t> births(12);
  std::iota(births.begin(), births.end(), 0);
  const std::vector<float> k(24, 0.0F);
  std::vector<float> v(24, 0.0F);
  for (int i = 0; i < 12; ++i) {
    v[2 * i] = static_cast<float>(1 << i);
  }
  const std::vector<uint16_t> mass(12, 1);
  const HeadEntries head{
      .k = k.data(), .v = v.data(), .mass = mass.data(), .entries = 12, .head_dim = 2};
  const KeyPositions positions{.birth = births.data(),
                               .of = [](uint32_t birth) { return int64_t{birth}; },
                               .rotate = &kQuarters};
  const auto sums = [&](const Indices& kept) {
    const MergedHead merged = MergePictures(head, kept, rules, positions);
    std::vector<int> of;
    for (size_t i = 0; i < kept.size(); ++i) {
      of.push_back(static_cast<int>(std::lround(merged.v[2 * i] * merged.mass[i])));
    }
    return of;
  };
  // Of the first picture only its first entry stays, which accepts nothing: 1 .. 4 are dropped. In
  // the second, 9 lies between 8 and 10 and goes to 8; 6 goes past the pinned 7 to 8, too.
  EXPECT_EQ(sums({0, 5, 7, 8, 10, 11}), (std::vector<int>{1, 32, 128, 256 + 512 + 64, 1024, 2048}));
  EXPECT_EQ(sums({0, 2, 5, 7, 10, 11}),
            (std::vector<int>{1, 4 + 2 + 8 + 16, 32, 128, 1024 + 64 + 256 + 512, 2048}));
  // Text that is dropped is gone.
  EXPECT_EQ(sums({0, 7, 11}), (std::vector<int>{1, 128, 2048}));
}

TEST(PictureMergeTest, MassSaturates) {
  TurnRules rules(TurnFold::kRefold, 0.5);
  rules.BeginTurn(0, {}, std::vector<TokenSpan>{{1, 2}});
  const std::vector<float> rows = {0, 0, 1, 0, 1, 0, 0, 0};
  const std::vector<uint16_t> mass = {1, 65000, 65000, 1};
  const std::vector<uint32_t> births = {0, 1, 2, 3};
  const RotateFn still = [](float*, int64_t) {};
  const MergedHead merged = MergePictures(
      {.k = rows.data(), .v = rows.data(), .mass = mass.data(), .entries = 4, .head_dim = 2},
      Indices{0, 2, 3}, rules,
      {.birth = births.data(),
       .of = [](uint32_t birth) { return int64_t{birth}; },
       .rotate = &still});
  EXPECT_EQ(merged.mass, (std::vector<uint16_t>{1, 65535, 1}));
  EXPECT_EQ(merged.k[2], 1.0F);
}

// Rotary embedding as models have it, in f64.
void Rope(const double* from, int64_t position, double* to) {
  for (int i = 0; i < 4; ++i) {
    const double angle = static_cast<double>(position) * std::pow(10000.0, -i / 4.0);
    to[i] = from[i] * std::cos(angle) - from[i + 4] * std::sin(angle);
    to[i + 4] = from[i + 4] * std::cos(angle) + from[i] * std::sin(angle);
  }
}

const RotateFn kRope = [](float* key, int64_t delta) {
  const std::vector<double> from(key, key + 8);
  double to[8];
  Rope(from.data(), delta, to);
  std::copy(to, to + 8, key);
};

int64_t PositionOf(uint32_t birth) { return int64_t{1000} + birth; }

// Entries of which births 9 to 58 are a picture, of any masses, one in four kept.
struct RandomHead {
  RandomHead(int32_t count, std::mt19937* random) : entries(count) {
    std::normal_distribution<double> normal;
    for (int32_t i = 0; i < entries; ++i) {
      births.push_back(static_cast<uint32_t>(3 * i));
      mass.push_back(static_cast<uint16_t>(1 + (*random)() % 4));
      if (i == 0 || i + 1 == entries || (*random)() % 4 == 0) {
        kept.push_back(i);
      }
      for (int d = 0; d < 8; ++d) {
        unrotated.push_back(normal(*random));
        v.push_back(static_cast<float>(normal(*random)));
      }
      double rotated[8];
      Rope(unrotated.data() + 8 * i, PositionOf(births.back()), rotated);
      k.insert(k.end(), rotated, rotated + 8);
    }
  }

  MergedHead Merge() const {
    TurnRules rules(TurnFold::kRefold, 0.5);
    rules.BeginTurn(0, {}, std::vector<TokenSpan>{{9, 50}});
    return MergePictures(
        {.k = k.data(), .v = v.data(), .mass = mass.data(), .entries = entries, .head_dim = 8},
        kept, rules, {.birth = births.data(), .of = PositionOf, .rotate = &kRope});
  }

  bool InPicture(int32_t i) const { return births[i] >= 9 && births[i] < 59; }

  // What goes to each kept entry, itself included.
  std::map<int32_t, std::vector<int32_t>> Members() const {
    std::map<int32_t, std::vector<int32_t>> members;
    for (int32_t i = 0; i < entries; ++i) {
      int32_t nearest = -1;
      for (const int32_t anchor : kept) {
        if (InPicture(anchor) && InPicture(i) &&
            (nearest < 0 || std::abs(anchor - i) < std::abs(nearest - i))) {
          nearest = anchor;
        }
      }
      const bool stays = std::find(kept.begin(), kept.end(), i) != kept.end();
      members[stays ? i : nearest].push_back(i);
    }
    return members;
  }

  int32_t entries;
  std::vector<double> unrotated;
  std::vector<float> k, v;
  std::vector<uint16_t> mass;
  std::vector<uint32_t> births;
  Indices kept;
};

TEST(PictureMergeTest, AgreesWithAReferenceInDoublePrecision) {
  std::mt19937 random(7);
  for (int32_t entries = 30; entries < 50; ++entries) {
    const RandomHead head(entries, &random);
    const MergedHead merged = head.Merge();
    const auto members = head.Members();
    for (size_t at = 0; at < head.kept.size(); ++at) {
      double weight = 0, mean_k[8] = {}, mean_v[8] = {}, expected[8];
      for (const int32_t i : members.at(head.kept[at])) {
        weight += head.mass[i];
        for (int d = 0; d < 8; ++d) {
          mean_k[d] += head.mass[i] * head.unrotated[8 * i + d];
          mean_v[d] += head.mass[i] * static_cast<double>(head.v[8 * i + d]);
        }
      }
      for (double& value : mean_k) value /= weight;
      Rope(mean_k, PositionOf(head.births[head.kept[at]]), expected);
      EXPECT_EQ(merged.mass[at], weight);
      for (int d = 0; d < 8; ++d) {
        EXPECT_NEAR(merged.k[8 * at + d], expected[d], 2e-6);
        EXPECT_NEAR(merged.v[8 * at + d], mean_v[d] / weight, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace concertina
