#include "models/kernels/decode_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

int64_t ElementBytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kBf16 ? 2 : 1;
}

int64_t BlockBytes(KvType type, int64_t entries_per_page, int64_t head_dim) {
  return entries_per_page * (head_dim * ElementBytes(type) + (type == KvType::kInt8 ? 2 : 0));
}

uint32_t RoundToBf16(uint32_t bits) { return (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u; }

// Writes `row` the way pages hold it, its scale to `scale`, and changes it to what can be read
// back.
void Store(std::span<float> row, KvType type, uint8_t* to, uint8_t* scale_to) {
  const auto put = [](auto value, uint8_t*& at) {
    std::memcpy(at, &value, sizeof(value));
    at += sizeof(value);
  };
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::fabs(value));
  const uint32_t scale_bits = RoundToBf16(std::bit_cast<uint32_t>(largest / 127));
  const auto scale = std::bit_cast<float>(scale_bits);
  if (type == KvType::kInt8) put(static_cast<uint16_t>(scale_bits >> 16), scale_to);
  for (float& value : row) {
    const auto bits = std::bit_cast<uint32_t>(value);
    switch (type) {
      case KvType::kF32:
        put(bits, to);
        break;
      case KvType::kBf16:
        put(static_cast<uint16_t>(RoundToBf16(bits) >> 16), to);
        value = std::bit_cast<float>(RoundToBf16(bits));
        break;
      case KvType::kInt8: {
        const float quant = std::clamp(std::nearbyint(value / scale), -127.0f, 127.0f);
        put(static_cast<int8_t>(quant), to);
        value = quant * scale;
        break;
      }
    }
  }
}

// Owns one head's pages, at byte addresses of any alignment and in any physical order.
class Pages {
 public:
  Pages(int64_t entries, int64_t entries_per_page, const PageLayout& layout, uint32_t seed,
        int64_t misalignment = 0)
      : per_page_(entries_per_page), layout_(layout) {
    const int64_t page_bytes =
        layout.v_offset + BlockBytes(layout.type, entries_per_page, layout.head_dim);
    const int64_t count = (entries + per_page_ - 1) / per_page_;
    const int64_t step = page_bytes + misalignment;
    memory_.assign(static_cast<size_t>(count * step + 64), 0xff);
    for (int64_t p = 0; p < count; ++p) {
      bases_.push_back(memory_.data() + p * step + misalignment);
    }
    std::mt19937 random(seed);
    std::shuffle(bases_.begin(), bases_.end(), random);
    view_.assign(bases_.begin(), bases_.end());
  }

  // Stores all entries and changes k and v to what the pages hold.
  void Fill(std::vector<float>& k, std::vector<float>& v) {
    const int64_t d = layout_.head_dim;
    const int64_t row_bytes = d * ElementBytes(layout_.type);
    for (int64_t e = 0; e < static_cast<int64_t>(k.size()) / d; ++e) {
      const int64_t slot = e % per_page_;
      const auto store = [&](std::vector<float>& x, uint8_t* block) {
        Store(std::span(x).subspan(static_cast<size_t>(e * d), static_cast<size_t>(d)),
              layout_.type, block + slot * row_bytes, block + per_page_ * row_bytes + 2 * slot);
      };
      uint8_t* page = bases_[static_cast<size_t>(e / per_page_)];
      store(k, page + layout_.k_offset);
      store(v, page + layout_.v_offset);
    }
  }

  PagedHead Head(int64_t entries) const { return {view_.data(), entries, per_page_}; }

 private:
  int64_t per_page_;
  PageLayout layout_;
  std::vector<uint8_t> memory_;
  std::vector<uint8_t*> bases_;
  std::vector<const uint8_t*> view_;
};

PageLayout LayoutFor(KvType type, int64_t head_dim, int64_t entries_per_page) {
  return {head_dim, type, 8, 8 + BlockBytes(type, entries_per_page, head_dim)};
}

struct Case {
  int64_t head_dim, group, entries, entries_per_page;
  KvType type;
};

struct Inputs {
  std::vector<float> k, v, q, bias;
};

Inputs MakeInputs(const Case& c, uint32_t seed) {
  Inputs in = {RandomFloats(c.entries * c.head_dim, seed),
               RandomFloats(c.entries * c.head_dim, seed + 1),
               RandomFloats(c.group * c.head_dim, seed + 2), RandomFloats(c.entries, seed + 3)};
  if (c.type == KvType::kBf16) {  // as some variants do with queries
    for (float& q : in.q) q = std::bit_cast<float>(RoundToBf16(std::bit_cast<uint32_t>(q)));
  }
  return in;
}

struct Outputs {
  std::vector<float> out, sums;
};

Outputs RunOne(const Case& c, const Inputs& in, const Pages& pages, bool bias) {
  Outputs result = {std::vector<float>(in.q.size()),
                    std::vector<float>(static_cast<size_t>(c.entries), 0.25f)};
  Workspace workspace;
  const DecodeItem item = {
      pages.Head(c.entries), in.q.data(),        c.group,
      result.out.data(),     result.sums.data(), bias ? in.bias.data() : nullptr};
  DecodeAttention({&item, 1}, LayoutFor(c.type, c.head_dim, c.entries_per_page), 0.3f, workspace);
  return result;
}

void CheckAgainstReference(const Case& c, const Inputs& in, const Outputs& got, bool bias) {
  const int64_t d = c.head_dim;
  constexpr double kTolerance = 3e-6;  // the reference reads what the pages hold
  std::vector<double> sums(static_cast<size_t>(c.entries), 0.25);
  for (int64_t g = 0; g < c.group; ++g) {
    std::vector<double> p(static_cast<size_t>(c.entries));
    double total = 0;
    for (int64_t e = 0; e < c.entries; ++e) {
      double dot = 0;
      for (int64_t i = 0; i < d; ++i) {
        dot += static_cast<double>(in.q[static_cast<size_t>(g * d + i)]) *
               in.k[static_cast<size_t>(e * d + i)];
      }
      const double logit = 0.3f * dot + (bias ? in.bias[static_cast<size_t>(e)] : 0.0);
      p[static_cast<size_t>(e)] = std::exp(logit);
      total += p[static_cast<size_t>(e)];
    }
    for (int64_t i = 0; i < d; ++i) {
      double sum = 0;
      for (int64_t e = 0; e < c.entries; ++e) {
        sum += p[static_cast<size_t>(e)] / total * in.v[static_cast<size_t>(e * d + i)];
      }
      ASSERT_NEAR(got.out[static_cast<size_t>(g * d + i)], sum, 4 * kTolerance)
          << d << " " << c.group << " " << c.entries << " " << c.entries_per_page;
    }
    for (int64_t e = 0; e < c.entries; ++e) {
      sums[static_cast<size_t>(e)] +=
          p[static_cast<size_t>(e)] / total / static_cast<double>(c.group);
    }
  }
  for (size_t e = 0; e < sums.size(); ++e) ASSERT_NEAR(got.sums[e], sums[e], kTolerance);
}

class DecodeAttentionTest : public KernelTest {};

constexpr KvType kTypes[] = {KvType::kF32, KvType::kBf16, KvType::kInt8};

TEST_P(DecodeAttentionTest, MatchesReference) {
  uint32_t seed = 1;
  for (const KvType type : kTypes) {
    for (const int64_t head_dim : {4, 6, 20, 64, 80, 96, 128}) {
      for (const int64_t group : {1, 2, 3, 4, 5, 8}) {
        // 1, page +- 1 for pages of 1 to 8 entries, chunk +- 1, several chunks.
        for (const int64_t entries : {1, 2, 3, 4, 5, 7, 9, 33, 63, 64, 65, 127, 400}) {
          const Case c = {head_dim, group, entries, 1 + seed % 8, type};
          Inputs in = MakeInputs(c, seed);
          Pages pages(entries, c.entries_per_page, LayoutFor(type, head_dim, c.entries_per_page),
                      seed, seed % 3);
          pages.Fill(in.k, in.v);
          const bool bias = seed % 2 == 0;
          CheckAgainstReference(c, in, RunOne(c, in, pages, bias), bias);
          ++seed;
        }
      }
    }
  }
}

TEST_P(DecodeAttentionTest, DoesNotDependOnPagesOrBatch) {
  for (const KvType type : kTypes) {
    std::vector<Case> cases;
    for (int64_t i = 0; i < 23; ++i) cases.push_back({64, 3, 1 + 41 * i % 300, 4, type});
    cases.push_back({64, 3, 5000, 4, type});  // long enough to be shared by threads in any company
    const PageLayout layout = LayoutFor(type, 64, 4);
    std::vector<Inputs> inputs;
    std::vector<Pages> pages;
    std::vector<Outputs> alone;
    std::vector<Outputs> together;
    for (size_t i = 0; i < cases.size(); ++i) {
      inputs.push_back(MakeInputs(cases[i], static_cast<uint32_t>(i)));
      pages.emplace_back(cases[i].entries, 4, layout, 99);
      pages[i].Fill(inputs[i].k, inputs[i].v);
      // The same entries on other pages, in pages of another size.
      const Case other = {64, 3, cases[i].entries, 7, type};
      Pages elsewhere(cases[i].entries, 7, LayoutFor(type, 64, 7), 5, 2);
      elsewhere.Fill(inputs[i].k, inputs[i].v);
      alone.push_back(RunOne(other, inputs[i], elsewhere, false));
      together.push_back({std::vector<float>(inputs[i].q.size()),
                          std::vector<float>(static_cast<size_t>(cases[i].entries), 0.25f)});
    }
    for (const int threads : {1, 2, 5}) {
      SetThreads(threads);
      std::vector<DecodeItem> items;
      for (size_t i = 0; i < cases.size(); ++i) {
        std::fill(together[i].sums.begin(), together[i].sums.end(), 0.25f);
        items.push_back({pages[i].Head(cases[i].entries), inputs[i].q.data(), 3,
                         together[i].out.data(), together[i].sums.data(), nullptr});
      }
      Workspace workspace;
      DecodeAttention(items, layout, 0.3f, workspace);
      for (size_t i = 0; i < cases.size(); ++i) {
        ASSERT_EQ(alone[i].out, together[i].out);
        ASSERT_EQ(alone[i].sums, together[i].sums);
      }
      const int64_t bytes = workspace.bytes();
      DecodeAttention(items, layout, 0.3f, workspace);
      EXPECT_EQ(workspace.bytes(), bytes) << "a second step must not allocate";
    }
  }
}

TEST_P(DecodeAttentionTest, HeadsOfAGroupAreIndependent) {
  const Case c = {64, 7, 100, 5, KvType::kF32};
  Inputs in = MakeInputs(c, 3);
  Pages pages(100, 5, LayoutFor(c.type, 64, 5), 1);
  pages.Fill(in.k, in.v);
  const Outputs together = RunOne(c, in, pages, true);
  for (int64_t g = 0; g < c.group; ++g) {
    Case one = c;
    one.group = 1;
    Inputs single = in;
    single.q.assign(in.q.begin() + g * 64, in.q.begin() + (g + 1) * 64);
    const Outputs alone = RunOne(one, single, pages, true);
    ASSERT_EQ(std::memcmp(alone.out.data(), &together.out[static_cast<size_t>(g * 64)],
                          64 * sizeof(float)),
              0);
  }
}

CONCERTINA_ALL_VARIANTS(DecodeAttentionTest);

}  // namespace
}  // namespace concertina
