// Decode attention over heads whose entries lie partly in packed groups.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "models/kernels/decode_attention.h"
#include "models/kernels/packed_groups.h"
#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

constexpr float kScale = 0.3f;
constexpr int64_t kSlotsPerChunk = 64;

// Groups of one kind; all of the same layout, with some members missing.
struct Kind {
  Kind(GroupLayout group_layout, int64_t count, uint32_t seed)
      : layout(group_layout), memory(static_cast<size_t>(count * layout.bytes())) {
    for (int64_t i = 0; i < count; ++i) {
      members.push_back(static_cast<int32_t>(i % 3 == 1 ? 1 + seed % 31 : 32));
      const auto elements = members.back() * layout.head_dim();
      const std::vector<float> k = RandomFloats(elements, ++seed, 0.5f);
      const std::vector<float> v = RandomFloats(elements, seed + 1000);
      uint8_t* group = memory.data() + i * layout.bytes();
      QuantiseGroup(layout, k.data(), v.data(), members.back(), group);
      groups.push_back(group);
      present.push_back(~0U >> (32 - members.back()));
    }
  }
  PackedHead View() const {
    return {&layout, groups.data(), present.data(), static_cast<int64_t>(groups.size())};
  }

  GroupLayout layout;
  std::vector<uint8_t> memory;
  std::vector<const uint8_t*> groups;
  std::vector<int32_t> members;
  std::vector<uint32_t> present;  // the first ones
};

struct Case {
  int64_t head_dim, group, high, low, rows;
};

// One head: groups of two kinds and rows in a page of f32.
struct Head {
  Head(const Case& test_case, uint32_t seed)
      : c(test_case),
        high(GroupLayout(c.head_dim, {4, 3}), c.high, seed),
        low(GroupLayout(c.head_dim, {3, 2}), c.low, seed + 50),
        page(RandomFloats(2 * 70 * c.head_dim, seed + 7)),
        page_address(reinterpret_cast<const uint8_t*>(page.data())),
        q(RandomFloats(c.group * c.head_dim, seed + 8)) {}

  DecodeItem Item(std::vector<float>* out, std::vector<float>* sums) const {
    DecodeItem item{.head = {&page_address, c.rows, 70}, .q = q.data(), .group = c.group};
    item.packed[0] = high.View();
    item.packed[1] = low.View();
    out->assign(q.size(), 0.0f);
    sums->assign(static_cast<size_t>(DecodeSlots(item)), 0.25f);
    item.out = out->data();
    item.score_sums = sums->data();
    return item;
  }
  PageLayout Layout() const { return {c.head_dim, KvType::kF32, 0, 70 * c.head_dim * 4}; }

  Case c;
  Kind high, low;
  std::vector<float> page;  // [K rows: 70][V rows: 70]
  const uint8_t* page_address;
  std::vector<float> q;
};

// Every entry's slot, score by query head, and value.
struct Entries {
  void Add(const Kind& kind, const Head& head, int64_t first_slot) {
    const int64_t d = head.c.head_dim;
    for (size_t i = 0; i < kind.groups.size(); ++i) {
      std::vector<float> scores(static_cast<size_t>(head.c.group * 32));
      ScoreGroup(kind.layout, kind.groups[i], head.q.data(), head.c.group, scores.data(), 32);
      std::vector<float> values(static_cast<size_t>(kind.members[i] * d));
      LoadGroupValues(kind.layout, kind.groups[i], kind.members[i], values.data());
      for (int64_t e = 0; e < kind.members[i]; ++e) {
        slots.push_back(first_slot + static_cast<int64_t>(i) * 32 + e);
        for (int64_t h = 0; h < head.c.group; ++h) logits.push_back(kScale * scores[h * 32 + e]);
        v.insert(v.end(), &values[e * d], &values[e * d] + d);
      }
    }
  }
  void AddRows(const Head& head, int64_t first_slot) {
    const int64_t d = head.c.head_dim;
    for (int64_t e = 0; e < head.c.rows; ++e) {
      slots.push_back(first_slot + e);
      for (int64_t h = 0; h < head.c.group; ++h) {
        const float* q = &head.q[h * d];
        logits.push_back(kScale * std::inner_product(q, q + d, &head.page[e * d], 0.0));
      }
      v.insert(v.end(), &head.page[(70 + e) * d], &head.page[(70 + e) * d] + d);
    }
  }

  std::vector<int64_t> slots;
  std::vector<double> logits;  // [entry][head]
  std::vector<float> v;        // [entry][head_dim]
};

int64_t ChunkSlots(int64_t groups) { return (groups + 1) / 2 * kSlotsPerChunk; }

void CheckAgainstReference(const Head& head, const std::vector<float>& out,
                           const std::vector<float>& sums) {
  const Case& c = head.c;
  Entries entries;
  entries.Add(head.high, head, 0);
  entries.Add(head.low, head, ChunkSlots(c.high));
  entries.AddRows(head, ChunkSlots(c.high) + ChunkSlots(c.low));
  std::vector<double> expected(sums.size(), 0.25);
  for (int64_t h = 0; h < c.group; ++h) {
    std::vector<double> p;
    for (size_t e = 0; e < entries.slots.size(); ++e) {
      p.push_back(std::exp(entries.logits[e * c.group + h]));
    }
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (size_t e = 0; e < p.size(); ++e) {
      p[e] /= total;
      expected[entries.slots[e]] += p[e] / static_cast<double>(c.group);
    }
    for (int64_t i = 0; i < c.head_dim; ++i) {
      double value = 0;
      for (size_t e = 0; e < p.size(); ++e) {
        value += p[e] * static_cast<double>(entries.v[e * c.head_dim + i]);
      }
      // Weights that meet values are rounded to 1/127 of the largest.
      ASSERT_NEAR(out[h * c.head_dim + i], value, 0.04) << c.high << " " << c.low << " " << c.rows;
    }
  }
  for (size_t slot = 0; slot < sums.size(); ++slot) {
    ASSERT_NEAR(sums[slot], expected[slot], 5e-6) << slot;
  }
}

class DecodePackedTest : public KernelTest {};

TEST_P(DecodePackedTest, MatchesReference) {
  uint32_t seed = 1;
  for (const int64_t high : {0, 1, 2, 3}) {
    for (const int64_t low : {0, 1, 2, 5, 11}) {
      for (const int64_t rows : {0, 1, 5, 64, 70}) {
        if (high + low + rows == 0) continue;
        ++seed;
        const Head head({seed % 2 == 0 ? 64 : 80, 1 + seed % 5, high, low, rows}, seed);
        std::vector<float> out;
        std::vector<float> sums;
        const DecodeItem item = head.Item(&out, &sums);
        Workspace workspace;
        DecodeAttention({&item, 1}, head.Layout(), kScale, workspace);
        CheckAgainstReference(head, out, sums);
      }
    }
  }
}

// Wherever entries are lacking, a chunk of eight groups as a whole among them.
TEST_P(DecodePackedTest, AbsentEntriesGetNothing) {
  for (const uint32_t pattern : {0x00000001U, 0x80000000U, 0x0f0ff0f0U, 0U}) {
    Head head({64, 3, 2, 9, 3}, 21);
    std::vector<float> out;
    std::vector<float> sums;
    for (size_t i = 0; i < 8; ++i) head.low.present[i] = pattern;
    head.low.present[8] = 0x12345678U;
    const DecodeItem item = head.Item(&out, &sums);
    sums.assign(sums.size(), 0.0f);
    Workspace workspace;
    DecodeAttention({&item, 1}, head.Layout(), kScale, workspace);
    const size_t first = 64;
    double total = 0;
    for (size_t i = 0; i < 9 * 32; ++i) {
      const bool there = (head.low.present[i / 32] >> i % 32 & 1U) != 0;
      EXPECT_EQ(sums[first + i] > 0, there) << i;
    }
    for (const float sum : sums) total += sum;
    EXPECT_NEAR(total, 1.0, 1e-5);
  }
}

TEST_P(DecodePackedTest, BiasIsBySlot) {
  const Head head({64, 3, 1, 1, 3}, 11);
  std::vector<float> out;
  std::vector<float> sums;
  DecodeItem item = head.Item(&out, &sums);
  const auto slots = static_cast<size_t>(DecodeSlots(item));
  ASSERT_EQ(slots, 2 * 64 + 3);
  for (const size_t chosen : {size_t{0}, size_t{64}, slots - 1}) {
    std::vector<float> bias(slots, -50.0f);
    bias[chosen] = 50.0f;
    item.bias = bias.data();
    sums.assign(slots, 0.0f);
    Workspace workspace;
    DecodeAttention({&item, 1}, head.Layout(), kScale, workspace);
    EXPECT_NEAR(sums[chosen], 1.0f, 1e-6);
  }
}

TEST_P(DecodePackedTest, DoesNotDependOnBatchOrThreads) {
  std::vector<Head> heads;
  heads.reserve(9);
  for (uint32_t i = 0; i < 8; ++i) heads.emplace_back(Case{64, 3, i % 4, i % 3, 1 + 9 * i}, i);
  heads.emplace_back(Case{64, 3, 40, 80, 32}, 9);  // long enough to be shared by threads
  const auto count = heads.size();
  std::vector<std::vector<float>> out(count);
  std::vector<std::vector<float>> sums(count);
  for (size_t i = 0; i < count; ++i) {
    const DecodeItem item = heads[i].Item(&out[i], &sums[i]);
    Workspace workspace;
    DecodeAttention({&item, 1}, heads[i].Layout(), kScale, workspace);
  }
  for (const int threads : {1, 2, 5}) {
    SetThreads(threads);
    std::vector<std::vector<float>> together(count);
    std::vector<std::vector<float>> sums_together(count);
    std::vector<DecodeItem> items;
    for (size_t i = 0; i < count; ++i) {
      items.push_back(heads[i].Item(&together[i], &sums_together[i]));
    }
    Workspace workspace;
    DecodeAttention(items, heads[0].Layout(), kScale, workspace);
    EXPECT_EQ(together, out);
    EXPECT_EQ(sums_together, sums);
  }
}

CONCERTINA_ALL_VARIANTS(DecodePackedTest);

}  // namespace
}  // namespace concertina
