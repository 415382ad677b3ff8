// Reference vectors of the cache policies (tests/goldens/elastic-ref, made by an independent NumPy
// implementation), replayed through the public functions and through a real session. Indices are
// exact, values within 1e-6.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cache/anchors.h"
#include "cache/merge.h"
#include "models/weights/safetensors.h"
#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::HeadContents;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

constexpr float kTolerance = 1e-6F;
const char* const kFolder = CONCERTINA_SOURCE_DIR "/tests/goldens/elastic-ref";

const std::pair<const char*, MergeMode> kModes[] = {{"mean", MergeMode::kMean},
                                                    {"mass", MergeMode::kMass},
                                                    {"none", MergeMode::kNone},
                                                    {"v_only", MergeMode::kVOnly}};

class ElasticGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream stream(std::string(kFolder) + "/cases.json");
    ASSERT_TRUE(stream.good());
    cases_ = nlohmann::json::parse(stream)["cases"];
    auto file = SafetensorsFile::Open(std::string(kFolder) + "/golden.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }

  std::vector<nlohmann::json> CasesOf(const std::string& kind) const {
    std::vector<nlohmann::json> found;
    for (const auto& golden : cases_) {
      if (golden["kind"] == kind) {
        found.push_back(golden);
      }
    }
    return found;
  }

  std::vector<int64_t> Shape(const std::string& name) const {
    const TensorInfo* info = file_->Find(name);
    EXPECT_NE(info, nullptr) << name;
    return info == nullptr ? std::vector<int64_t>() : info->shape;
  }

  std::vector<float> Floats(const std::string& name) const {
    auto values = ReadAll(*file_, name, Shape(name));
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? *values : std::vector<float>();
  }

  std::vector<int32_t> Ints(const std::string& name) const {
    auto values = file_->ReadInts(name);
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? std::vector<int32_t>(values->begin(), values->end())
                       : std::vector<int32_t>();
  }

  nlohmann::json cases_;
  std::unique_ptr<SafetensorsFile> file_;
};

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], kTolerance) << what << " at " << i;
  }
}

// K and V of a case, [heads][entries][dims].
struct Tensors {
  std::vector<float> k, v;
  int64_t heads, entries, dims;
};

std::vector<uint16_t> ToMass(const std::vector<float>& mass) { return {mass.begin(), mass.end()}; }

// Merges every head and joins the results as the goldens lay them out.
MergedHead MergeAll(const Tensors& in, const std::vector<uint16_t>& mass,
                    const std::vector<int32_t>& anchors, MergeMode mode) {
  MergedHead all;
  for (int64_t h = 0; h < in.heads; ++h) {
    const int64_t at = h * in.entries * in.dims;
    const HeadEntries head{in.k.data() + at, in.v.data() + at, mass.data(),
                           static_cast<int32_t>(in.entries), static_cast<int32_t>(in.dims)};
    MergedHead merged = MergeBuckets(head, anchors, mode, /*pure_sink=*/false);
    all.k.insert(all.k.end(), merged.k.begin(), merged.k.end());
    all.v.insert(all.v.end(), merged.v.begin(), merged.v.end());
    all.mass = merged.mass;
  }
  return all;
}

// A one-layer session whose prompt is the case's: K, V, mass and importance as given.
class GoldenSession {
 public:
  GoldenSession(const Tensors& in, std::vector<float> importance, std::vector<uint16_t> mass,
                std::shared_ptr<const Policy> policy, Budget budget)
      : shape_{.layers = 1,
               .kv_heads = static_cast<int32_t>(in.heads),
               .head_dim = static_cast<int32_t>(in.dims)},
        pool_(MakePool(4000, shape_)),
        cache_(pool_.get(), shape_, EntryType::kF32, std::move(policy), budget,
               OnContextEnd::kRefuse) {
    const auto write = [&](const SessionCache&, int, LayerPrompt* prompt) {
      for (int64_t h = 0; h < in.heads; ++h) {
        const int64_t row = h * prompt->capacity;
        const int64_t from = h * in.entries * in.dims;
        std::copy_n(in.k.data() + from, in.entries * in.dims, prompt->k + row * in.dims);
        std::copy_n(in.v.data() + from, in.entries * in.dims, prompt->v + row * in.dims);
        std::copy_n(importance.data(), in.entries, prompt->score + row);
        std::copy_n(mass.data(), in.entries, prompt->mass + row);
      }
    };
    EXPECT_TRUE(Prefill(cache_, static_cast<int32_t>(in.entries), write).ok());
  }

  // Appends the new entries one by one; returns the birth-order indices deleted at each.
  // caps: a token budget for every step, or empty.
  std::vector<std::vector<int>> Decode(const std::vector<float>& k, const std::vector<float>& v,
                                       const std::vector<int64_t>& caps = {}) {
    const int64_t dims = shape_.head_dim;
    const int64_t steps = static_cast<int64_t>(k.size()) / (shape_.kv_heads * dims);
    std::vector<std::vector<int>> deleted;
    cache_.BeginDecode();
    for (int64_t step = 0; step < steps; ++step) {
      if (!caps.empty()) {
        EXPECT_TRUE(cache_.SetBudget(Budget::Tokens(caps[step])).ok());
      }
      std::vector<float> new_k, new_v;
      for (int64_t h = 0; h < shape_.kv_heads; ++h) {
        const int64_t at = (h * steps + step) * dims;
        new_k.insert(new_k.end(), k.begin() + at, k.begin() + at + dims);
        new_v.insert(new_v.end(), v.begin() + at, v.begin() + at + dims);
      }
      EXPECT_TRUE(cache_.AppendToken(0, new_k.data(), new_v.data()).ok());
      const std::vector<uint32_t> before = Contents(cache_, 0, 0).births;
      cache_.EvictLayer(0);
      cache_.CommitToken();
      deleted.push_back(Missing(before, Contents(cache_, 0, 0).births));
    }
    cache_.EndDecode();
    return deleted;
  }

  void ExpectContents(const std::vector<float>& k, const std::vector<float>& v,
                      const std::vector<int32_t>& births, const std::string& what) const {
    for (int h = 0; h < shape_.kv_heads; ++h) {
      const HeadContents held = Contents(cache_, 0, h);
      EXPECT_EQ(std::vector<int32_t>(held.births.begin(), held.births.end()), births) << what;
    }
    ExpectValues(k, v, what);
  }

  void ExpectValues(const std::vector<float>& k, const std::vector<float>& v,
                    const std::string& what) const {
    std::vector<float> all_k, all_v;
    for (int h = 0; h < shape_.kv_heads; ++h) {
      const HeadContents held = Contents(cache_, 0, h);
      all_k.insert(all_k.end(), held.k.begin(), held.k.end());
      all_v.insert(all_v.end(), held.v.begin(), held.v.end());
    }
    ExpectNear(all_k, k, what + " k");
    ExpectNear(all_v, v, what + " v");
  }

  SessionCache& cache() { return cache_; }

 private:
  // Indices into `before` of what `after` lacks, each as it was when deleted one after another.
  static std::vector<int> Missing(const std::vector<uint32_t>& before,
                                  const std::vector<uint32_t>& after) {
    std::vector<int> missing;
    size_t kept = 0;
    for (const uint32_t birth : before) {
      if (kept < after.size() && after[kept] == birth) {
        ++kept;
      } else {
        missing.push_back(static_cast<int>(kept));
      }
    }
    return missing;
  }

  CacheShape shape_;
  std::unique_ptr<PagePool> pool_;
  SessionCache cache_;
};

TEST_F(ElasticGoldenTest, SelectionBucketsAndMerges) {
  int checked = 0;
  for (const auto& golden : CasesOf("paper")) {
    const std::string name = golden["name"];
    const std::vector<float> importance = Floats(name + "/importance");
    const std::vector<int32_t> anchors = SelectAnchors(importance, golden["n_requested"]);
    ASSERT_EQ(anchors, Ints(name + "/anchors")) << name;
    const int32_t entries = golden["T"];
    std::vector<int32_t> bounds;
    for (const Bucket bucket : Buckets(anchors, entries)) {
      bounds.insert(bounds.end(), {bucket.first, bucket.last});
    }
    ASSERT_EQ(bounds, Ints(name + "/buckets")) << name;

    const Tensors in{Floats(name + "/k"), Floats(name + "/v"), golden["kv_heads"], entries,
                     golden["head_dim"]};
    for (const auto& [mode_name, mode] : kModes) {
      const std::vector<uint16_t> mass = mode == MergeMode::kMass
                                             ? ToMass(Floats(name + "/mass_in"))
                                             : std::vector<uint16_t>(entries, 1);
      const std::string key = name + "/" + mode_name;
      const MergedHead merged = MergeAll(in, mass, anchors, mode);
      ExpectNear(merged.k, Floats(key + ".k"), key);
      ExpectNear(merged.v, Floats(key + ".v"), key);
      ASSERT_EQ(merged.mass, ToMass(Floats(key + ".mass"))) << key;
      // The same through a session's fold and pages.
      const GoldenSession session(in, importance, mass, PolicyOf("elastic", {.merge = mode}),
                                  Budget::Tokens(golden["n_requested"]));
      session.ExpectContents(Floats(key + ".k"), Floats(key + ".v"), anchors, key + " session");
      ++checked;
    }
  }
  EXPECT_EQ(checked, 24 * 4);
}

TEST_F(ElasticGoldenTest, DecodeAtAFixedBudget) {
  for (const auto& golden : CasesOf("paper")) {
    const std::string name = golden["name"];
    const Tensors in{Floats(name + "/k"), Floats(name + "/v"), golden["kv_heads"], golden["T"],
                     golden["head_dim"]};
    GoldenSession session(in, Floats(name + "/importance"), std::vector<uint16_t>(in.entries, 1),
                          PolicyOf("elastic"), Budget::Tokens(golden["n_requested"]));
    ASSERT_TRUE(session.cache().SetBudget(Budget::Tokens(golden["decode_budget"])).ok());
    const auto deleted =
        session.Decode(Floats(name + "/decode.new_k"), Floats(name + "/decode.new_v"));
    EXPECT_EQ(deleted, golden["decode_deleted"].get<std::vector<std::vector<int>>>()) << name;
    session.ExpectContents(Floats(name + "/decode.k"), Floats(name + "/decode.v"),
                           Ints(name + "/decode.positions"), name + " decode");
  }
}

TEST_F(ElasticGoldenTest, DecodeAtAGrowingBudget) {
  int checked = 0;
  for (const auto& golden : CasesOf("paper")) {
    const std::string name = golden["name"];
    if (golden["budget_fraction"].is_null()) {
      continue;
    }
    const Tensors in{Floats(name + "/k"), Floats(name + "/v"), golden["kv_heads"], golden["T"],
                     golden["head_dim"]};
    GoldenSession session(in, Floats(name + "/importance"), std::vector<uint16_t>(in.entries, 1),
                          PolicyOf("elastic"), Budget::Ratio(golden["budget_fraction"]));
    const auto deleted =
        session.Decode(Floats(name + "/decode.new_k"), Floats(name + "/decode.new_v"));
    EXPECT_EQ(deleted, golden["decode_ratio_deleted"].get<std::vector<std::vector<int>>>()) << name;
    session.ExpectContents(Floats(name + "/decode_ratio.k"), Floats(name + "/decode_ratio.v"),
                           Ints(name + "/decode_ratio.positions"), name + " decode_ratio");
    ++checked;
  }
  EXPECT_GE(checked, 15);
}

TEST_F(ElasticGoldenTest, TiesGoToTheLowerIndex) {
  const auto cases = CasesOf("from_importance");
  ASSERT_EQ(cases.size(), 42U);
  for (const auto& golden : cases) {
    const std::string name = golden["name"];
    const std::vector<float> importance = Floats(name + "/importance");
    const std::vector<int32_t> anchors = SelectAnchors(importance, golden["n_requested"]);
    ASSERT_EQ(anchors, Ints(name + "/anchors")) << name;
    const Tensors in{Floats(name + "/k"), Floats(name + "/v"), 2, golden["T"], 4};
    const GoldenSession session(in, importance, std::vector<uint16_t>(in.entries, 1),
                                PolicyOf("elastic"), Budget::Tokens(golden["n_requested"]));
    session.ExpectContents(Floats(name + "/mean.k"), Floats(name + "/mean.v"), anchors, name);
  }
}

// Budgets are set such that a session holds as many entries as the published code at every step.
TEST_F(ElasticGoldenTest, WhatThePublishedCodeDoes) {
  const auto cases = CasesOf("official");
  ASSERT_EQ(cases.size(), 6U);
  for (const auto& golden : cases) {
    for (int layer = 0; layer < golden["layers"]; ++layer) {
      const std::string name = golden["name"].get<std::string>() + "/l" + std::to_string(layer);
      const Tensors in{Floats(name + ".k_in"), Floats(name + ".v_in"), golden["kv_heads"],
                       golden["T"], golden["head_dim"]};
      const std::vector<int32_t> kept = Ints(name + ".kept");
      auto held = static_cast<int64_t>(kept.size());
      GoldenSession session(in, Floats(name + ".score"), std::vector<uint16_t>(in.entries, 1),
                            PolicyOf("official"), Budget::Tokens(held));
      session.ExpectContents(Floats(name + ".k"), Floats(name + ".v"), kept, name);
      EXPECT_EQ(session.cache().next_position(), held);

      std::vector<int64_t> caps;
      std::vector<std::vector<int>> expected;
      for (const auto& index : golden["decode_deleted"]) {
        ++held;
        expected.emplace_back();
        if (!index.is_null()) {  // from the end where negative
          const int64_t place = index;
          expected.back().push_back(static_cast<int>(place < 0 ? held + place : place));
          --held;
        }
        caps.push_back(held);
      }
      EXPECT_EQ(session.Decode(Floats(name + ".new_k"), Floats(name + ".new_v"), caps), expected);
      session.ExpectValues(Floats(name + ".dec_k"), Floats(name + ".dec_v"), name + " decode");
      EXPECT_EQ(session.cache().next_position(), held);
    }
  }
}

TEST_F(ElasticGoldenTest, MassKeepsTheTrueMeanWhenFoldedTwice) {
  const auto cases = CasesOf("remerge");
  ASSERT_EQ(cases.size(), 2U);
  for (const auto& golden : cases) {
    const std::string name = golden["name"];
    const std::vector<int64_t> shape = Shape(name + "/k");
    const Tensors in{Floats(name + "/k"), Floats(name + "/v"), shape[0], shape[1], shape[2]};
    const std::vector<int32_t> anchors1 = SelectAnchors(Floats(name + "/importance"), golden["n1"]);
    ASSERT_EQ(anchors1, Ints(name + "/anchors1"));
    const MergedHead once =
        MergeAll(in, std::vector<uint16_t>(in.entries, 1), anchors1, MergeMode::kMass);
    ExpectNear(once.k, Floats(name + "/mass1.k"), name);
    ExpectNear(once.v, Floats(name + "/mass1.v"), name);
    ASSERT_EQ(once.mass, ToMass(Floats(name + "/mass1")));

    const std::vector<int32_t> anchors2 =
        SelectAnchors(Floats(name + "/importance2"), golden["n2"]);
    ASSERT_EQ(anchors2, Ints(name + "/anchors2"));
    const Tensors folded{once.k, once.v, in.heads, static_cast<int64_t>(anchors1.size()), in.dims};
    const MergedHead twice = MergeAll(folded, once.mass, anchors2, MergeMode::kMass);
    ExpectNear(twice.k, Floats(name + "/mass2.k"), name);
    ExpectNear(twice.v, Floats(name + "/mass2.v"), name);
    ASSERT_EQ(twice.mass, ToMass(Floats(name + "/mass2")));
    const MergedHead plain = MergeAll(folded, once.mass, anchors2, MergeMode::kMean);
    ExpectNear(plain.k, Floats(name + "/mean2.k"), name);
    ExpectNear(plain.v, Floats(name + "/mean2.v"), name);
  }
}

}  // namespace
}  // namespace concertina
