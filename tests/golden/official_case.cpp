#include "tests/golden/official_case.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cache/session_driver.h"
#include "tests/golden/compare.h"
#include "tests/golden/elastic_session.h"

namespace concertina::testing {
namespace {

constexpr double kTolerance = 1e-6;
constexpr double kScoreTolerancePerRow = 1e-5;  // our kernel's f32 against the reference's

// Entries held after every decode step, and the indices deleted at each.
struct Steps {
  std::vector<int64_t> caps;
  std::vector<std::vector<int>> deleted;
};

// `log`: per step the index deleted, from the end where negative, or null.
Steps StepsOf(const nlohmann::json& log, int64_t held) {
  Steps steps;
  for (const nlohmann::json& index : log) {
    ++held;
    steps.deleted.emplace_back();
    if (!index.is_null()) {
      const auto place = index.get<int64_t>();
      steps.deleted.back().push_back(static_cast<int>(place < 0 ? held + place : place));
      --held;
    }
    steps.caps.push_back(held);
  }
  return steps;
}

void CheckLayer(const nlohmann::json& info, const std::string& prefix, const std::string& label,
                GoldenFolder* folder, Report* report) {
  ElasticPrompt prompt{.k = folder->Floats(prefix + ".k_in"),
                       .v = folder->Floats(prefix + ".v_in"),
                       .heads = info.at("kv_heads"),
                       .entries = info.at("T"),
                       .dims = info.at("head_dim"),
                       .importance = folder->Floats(prefix + ".score"),
                       .mass = {}};
  prompt.mass.assign(static_cast<size_t>(prompt.entries), 1);
  const std::vector<float> scores =
      ImportanceOf(folder->Floats(prefix + ".q"), info.at("q_heads"), prompt);
  report->Error(label + "score", MaxAbsDifference(scores, prompt.importance),
                kScoreTolerancePerRow * prompt.entries);

  const int64_t kept = folder->Shape(prefix + ".kept").at(0);
  ElasticSession session(prompt, PolicyOf("official"), Budget::Tokens(kept));
  const ElasticContents folded = session.Contents();
  const std::string stem = prefix.substr(0, prefix.rfind('/'));
  const std::string layer = prefix.substr(stem.size() + 1);
  CompareInts(stem, layer + ".kept", folded.births, folder, report);
  CompareFloats(stem, layer + ".k", folded.k, kTolerance, folder, report);
  CompareFloats(stem, layer + ".v", folded.v, kTolerance, folder, report);
  // What was merged into what shows in K and V.
  folder->MarkUsed(prefix + ".thrown");
  folder->MarkUsed(prefix + ".merged_into");

  const Steps steps = StepsOf(info.at("decode_deleted"), kept);
  const auto deleted = session.Decode(folder->Floats(prefix + ".new_k"),
                                      folder->Floats(prefix + ".new_v"), steps.caps);
  report->Exact(label + "decode_deleted", deleted == steps.deleted ? 0 : 1);
  const ElasticContents held = session.Contents();
  CompareFloats(stem, layer + ".dec_k", held.k, kTolerance, folder, report);
  CompareFloats(stem, layer + ".dec_v", held.v, kTolerance, folder, report);
  if (!session.status().ok()) {
    report->Failed(label + "session", std::string(session.status().message()));
  }
}

}  // namespace

void CheckOfficial(const nlohmann::json& info, GoldenFolder* folder, Report* report) {
  const std::string name = info.at("name");
  for (int layer = 0; layer < info.at("layers").get<int>(); ++layer) {
    const std::string label = absl::StrCat("l", layer, ".");
    CheckLayer(info, absl::StrCat(name, "/l", layer), label, folder, report);
  }
  for (const char* quantity : {"local_kept", "h2o_score", "h2o_kept"}) {
    folder->MarkUsed(absl::StrCat(name, "/", quantity));
  }
  report->NotChecked("local_kept, h2o_kept", "the published code's own baselines are not built");
}

}  // namespace concertina::testing
