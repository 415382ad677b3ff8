// Reference vectors of the baseline policies (tests/goldens/policies-ref, made by NumPy from the
// papers' definitions), replayed through the public functions and through a real session.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/weights/safetensors.h"
#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

const char* const kFolder = CONCERTINA_SOURCE_DIR "/tests/goldens/policies-ref";

class BaselinesGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream stream(std::string(kFolder) + "/cases.json");
    ASSERT_TRUE(stream.good());
    cases_ = nlohmann::json::parse(stream)["cases"];
    ASSERT_EQ(cases_.size(), 8U);
    auto file = SafetensorsFile::Open(std::string(kFolder) + "/golden.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }

  std::vector<float> Floats(const nlohmann::json& golden, const std::string& what) const {
    const std::string name = golden["name"].get<std::string>() + "/" + what;
    auto values = ReadAll(*file_, name, file_->Find(name)->shape);
    EXPECT_TRUE(values.ok()) << values.status();
    return *values;
  }

  // [rows][n] of a tensor whose last dimension is n.
  std::vector<std::vector<int32_t>> Rows(const nlohmann::json& golden,
                                         const std::string& what) const {
    const std::string name = golden["name"].get<std::string>() + "/" + what;
    const auto values = file_->ReadInts(name);
    EXPECT_TRUE(values.ok()) << values.status();
    const int64_t width = file_->Find(name)->shape.back();
    std::vector<std::vector<int32_t>> rows;
    for (auto at = values->begin(); at != values->end(); at += width) {
      rows.emplace_back(at, at + width);
    }
    return rows;
  }

  nlohmann::json cases_;
  std::unique_ptr<SafetensorsFile> file_;
};

LayerView ViewOf(const nlohmann::json& golden, const std::vector<float>& k,
                 const std::vector<float>& score) {
  const int32_t entries = golden["T"];
  return {.kv_heads = golden["kv_heads"],
          .head_dim = golden["head_dim"],
          .entries = entries,
          .capacity = entries,
          .seen_after = entries,
          .k = k.data(),
          .score = score.data()};
}

TEST_F(BaselinesGoldenTest, WhatAFoldKeeps) {
  constexpr std::pair<const char*, const char*> kPolicies[] = {
      {"h2o", "score"}, {"local", "score"}, {"snapkv", "window"}, {"keydiff", "score"}};
  for (const auto& golden : cases_) {
    const std::vector<float> k = Floats(golden, "k");
    for (const auto& [policy, scores] : kPolicies) {
      const std::vector<float> score = Floats(golden, scores);
      EXPECT_EQ(PolicyOf(policy)->Select(ViewOf(golden, k, score), golden["keep"]),
                Rows(golden, policy))
          << golden["name"] << " " << policy;
    }
  }
}

TEST_F(BaselinesGoldenTest, HowPrefixKvSplitsOverLayers) {
  const auto policy = PolicyOf("prefixkv");
  for (const auto& golden : cases_) {
    const std::vector<float> scores = Floats(golden, "layer_scores");
    const int64_t layers = golden["layers"];
    const auto of_layer = static_cast<int64_t>(scores.size()) / layers;
    std::vector<std::vector<float>> concentrations;
    for (int64_t layer = 0; layer < layers; ++layer) {
      const std::vector<float> score(scores.begin() + layer * of_layer,
                                     scores.begin() + (layer + 1) * of_layer);
      concentrations.push_back(policy->Concentration(ViewOf(golden, {}, score)));
    }
    const std::vector<double> weights =
        policy->LayerWeights(concentrations, golden["keep"].get<int64_t>() * layers);
    EXPECT_EQ(std::vector<int32_t>(weights.begin(), weights.end()),
              Rows(golden, "prefixkv_counts").at(0))
        << golden["name"];
  }
}

// The attention paid at every step is given; which entries are there to be paid is the session's
// doing.
TEST_F(BaselinesGoldenTest, WhatH2oEvictsWhileDecoding) {
  for (const auto& golden : cases_) {
    const int32_t entries = golden["T"];
    const int32_t heads = golden["kv_heads"];
    const int32_t steps = golden["steps"];
    const CacheShape shape{.layers = 1, .kv_heads = heads, .head_dim = 4};
    const auto pool = MakePool(4000, shape);
    SessionCache cache(pool.get(), shape, EntryType::kF32, PolicyOf("h2o"),
                       Budget::Tokens(golden["keep"]), OnContextEnd::kRefuse);
    const std::vector<float> score = Floats(golden, "score");
    const auto write = [&](const SessionCache&, int, LayerPrompt* prompt) {
      for (int64_t head = 0; head < heads; ++head) {
        std::copy_n(score.data() + head * entries, entries,
                    prompt->score + head * prompt->capacity);
      }
    };
    ASSERT_TRUE(Prefill(cache, entries, write).ok());
    cache.BeginDecode();
    // S is stored in 16 bits between turns; the reference has more.
    for (int head = 0; head < heads; ++head) {
      const std::vector<uint32_t> births = Contents(cache, 0, head).births;
      for (size_t slot = 0; slot < births.size(); ++slot) {
        cache.LiveScores(0, head)[slot] = score[head * entries + births[slot]];
      }
    }
    const std::vector<float> paid = Floats(golden, "h2o_paid");
    const auto held = Rows(golden, "h2o_held");
    const std::vector<float> zeros(static_cast<size_t>(heads) * 4);
    for (int32_t step = 0; step < steps; ++step) {
      ASSERT_TRUE(cache.AppendToken(0, zeros.data(), zeros.data()).ok());
      for (int head = 0; head < heads; ++head) {
        const float* row = paid.data() + (int64_t{head} * steps + step) * (entries + steps);
        for (int32_t slot = 0; slot < cache.EntriesIn(0, head); ++slot) {
          cache.LiveScores(0, head)[slot] +=
              row[std::as_const(cache).Head(0, head).Meta(slot).birth];
        }
      }
      cache.EvictLayer(0);
      cache.CommitToken();
      for (int head = 0; head < heads; ++head) {
        const std::vector<uint32_t> births = Contents(cache, 0, head).births;
        ASSERT_EQ(std::vector<int32_t>(births.begin(), births.end()),
                  held.at(static_cast<size_t>(head * steps + step)))
            << golden["name"] << " head " << head << " step " << step;
      }
    }
    cache.EndDecode();
  }
}

}  // namespace
}  // namespace concertina
