// Cache policies: selection, buckets and merges as pure functions and through a session's fold and
// pages, and the evictions of decode.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/anchors.h"
#include "tests/cache/session_driver.h"
#include "tests/golden/compare.h"
#include "tests/golden/elastic_session.h"
#include "tests/golden/folder_checks.h"
#include "tests/golden/official_case.h"

namespace concertina::testing {
namespace {

constexpr double kElasticTolerance = 1e-6;
constexpr double kImportanceTolerancePerRow = 1e-5;  // our kernel's f32 against the reference's f64

const std::pair<const char*, MergeMode> kModes[] = {{"mean", MergeMode::kMean},
                                                    {"mass", MergeMode::kMass},
                                                    {"none", MergeMode::kNone},
                                                    {"v_only", MergeMode::kVOnly}};

std::vector<uint16_t> ToMass(const std::vector<float>& mass) { return {mass.begin(), mass.end()}; }
std::vector<float> ToFloats(const std::vector<uint16_t>& mass) {
  return {mass.begin(), mass.end()};
}

class ElasticCase {
 public:
  ElasticCase(const nlohmann::json& info, GoldenFolder* folder, Report* report)
      : info_(info), name_(info.at("name")), folder_(folder), report_(report) {}

  void Check() {
    report_->BeginCase(name_);
    const std::string kind = info_.at("kind");
    if (kind == "official") return CheckOfficial(info_, folder_, report_);
    if (kind != "paper" && kind != "from_importance" && kind != "remerge") {
      return report_->NotChecked("all of it", "unknown kind");
    }
    if (!ReadPrompt()) return report_->Failed("k, v", "their shapes are no layer's");
    if (kind == "remerge") return CheckRemerge();
    CheckImportance();
    const std::vector<int32_t> anchors = CheckSelection("importance", "anchors", "n_requested");
    if (info_.contains("n_anchors")) {
      report_->Exact("n_anchors", std::abs(info_["n_anchors"].get<int64_t>() -
                                           KeptCount(info_.at("n_requested"), prompt_.entries)));
    }
    for (const auto& [name, mode] : kModes) CheckMode(name, mode, anchors);
    CheckDecode("decode", info_.value("decode_budget", nlohmann::json()));
    CheckDecode("decode_ratio", info_.value("budget_fraction", nlohmann::json()));
  }

 private:
  bool ReadPrompt() {
    const std::vector<int64_t> shape = folder_->Shape(name_ + "/k");
    if (shape.size() != 3 || shape != folder_->Shape(name_ + "/v")) return false;
    prompt_ = {.k = folder_->Floats(name_ + "/k"),
               .v = folder_->Floats(name_ + "/v"),
               .heads = static_cast<int32_t>(shape[0]),
               .entries = static_cast<int32_t>(shape[1]),
               .dims = static_cast<int32_t>(shape[2]),
               .importance = folder_->Floats(name_ + "/importance"),
               .mass = {}};
    prompt_.mass.assign(static_cast<size_t>(prompt_.entries), 1);
    return prompt_.importance.size() == static_cast<size_t>(prompt_.entries);
  }

  void CheckImportance() {
    if (!folder_->Has(name_ + "/q")) return;
    const std::vector<int64_t> shape = folder_->Shape(name_ + "/q");
    const std::vector<float> q = folder_->Floats(name_ + "/q");
    if (shape.size() != 3 || shape[0] % prompt_.heads != 0 || shape[1] != prompt_.entries ||
        shape[2] != prompt_.dims) {
      return report_->Failed("importance", "the shape of q does not fit k");
    }
    CompareFloats(name_, "importance", ImportanceOf(q, shape[0], prompt_),
                  kImportanceTolerancePerRow * static_cast<double>(prompt_.entries), folder_,
                  report_);
  }

  // Anchors and, where stored, buckets; from the stored importance. Returns the anchors.
  std::vector<int32_t> CheckSelection(const std::string& importance, const std::string& anchors,
                                      const std::string& count) {
    const std::vector<float> scores = folder_->Floats(name_ + "/" + importance);
    const std::vector<int32_t> selected = SelectAnchors(scores, info_.at(count));
    CompareInts(name_, anchors, selected, folder_, report_);
    std::vector<int32_t> bounds;
    for (const Bucket bucket : Buckets(selected, static_cast<int32_t>(scores.size()))) {
      bounds.insert(bounds.end(), {bucket.first, bucket.last});
    }
    CompareInts(name_, "buckets", bounds, folder_, report_);
    return selected;
  }

  static MergedHead MergeAll(const ElasticPrompt& in, const std::vector<int32_t>& anchors,
                             MergeMode mode) {
    MergedHead all;
    for (int64_t head = 0; head < in.heads; ++head) {
      const int64_t at = head * in.entries * in.dims;
      const HeadEntries entries{in.k.data() + at, in.v.data() + at, in.mass.data(), in.entries,
                                in.dims};
      MergedHead merged = MergeBuckets(entries, anchors, mode, /*pure_sink=*/false);
      all.k.insert(all.k.end(), merged.k.begin(), merged.k.end());
      all.v.insert(all.v.end(), merged.v.begin(), merged.v.end());
      all.mass = merged.mass;
    }
    return all;
  }

  // The larger error of the pure function and of the session.
  void CompareBoth(const std::string& quantity, const std::vector<float>& function,
                   const std::vector<float>& session) {
    const std::string name = name_ + "/" + quantity;
    if (!folder_->Has(name)) return;
    const std::vector<float> expected = folder_->Floats(name);
    report_->Error(
        quantity,
        std::max(MaxAbsDifference(function, expected), MaxAbsDifference(session, expected)),
        kElasticTolerance);
  }

  void CheckMode(const std::string& name, MergeMode mode, const std::vector<int32_t>& anchors) {
    if (!folder_->Has(name_ + "/" + name + ".k")) return;
    ElasticPrompt in = prompt_;
    if (mode == MergeMode::kMass) in.mass = ToMass(folder_->Floats(name_ + "/mass_in"));
    if (in.mass.size() != prompt_.mass.size()) {
      return report_->Failed(name, "mass_in has another length");
    }
    const MergedHead merged = MergeAll(in, anchors, mode);
    const ElasticSession session(in, PolicyOf("elastic", {.merge = mode}),
                                 Budget::Tokens(info_.at("n_requested")));
    if (!session.status().ok()) {
      return report_->Failed(name, std::string(session.status().message()));
    }
    const ElasticContents held = session.Contents();
    CompareBoth(name + ".k", merged.k, held.k);
    CompareBoth(name + ".v", merged.v, held.v);
    CompareBoth(name + ".mass", ToFloats(merged.mass), ToFloats(held.masses));
    report_->Exact(name + " session anchors",
                   CountDiffering(held.births, anchors) + (held.heads_agree ? 0 : 1));
  }

  // From the mean-merged cache, at a number of entries or at a share that grows. `budget` is null
  // in cases without this part.
  void CheckDecode(const std::string& part, const nlohmann::json& budget) {
    const std::string deleted_key = part + "_deleted";
    if (budget.is_null() || !folder_->Has(name_ + "/" + part + ".k")) return;
    const bool ratio = part == "decode_ratio";
    ElasticSession session(prompt_, PolicyOf("elastic"),
                           ratio ? Budget::Ratio(budget) : Budget::Tokens(info_.at("n_requested")));
    if (!ratio) session.SetBudget(Budget::Tokens(budget));
    const std::vector<std::vector<int>> deleted = session.Decode(
        folder_->Floats(name_ + "/decode.new_k"), folder_->Floats(name_ + "/decode.new_v"));
    if (!session.status().ok()) {
      return report_->Failed(part, std::string(session.status().message()));
    }
    const ElasticContents held = session.Contents();
    report_->Exact(deleted_key,
                   deleted == info_.at(deleted_key).get<std::vector<std::vector<int>>>() ? 0 : 1);
    CompareFloats(name_, part + ".k", held.k, kElasticTolerance, folder_, report_);
    CompareFloats(name_, part + ".v", held.v, kElasticTolerance, folder_, report_);
    CompareInts(name_, part + ".positions", held.births, folder_, report_);
  }

  void CompareMerged(const std::string& stem, const std::string& mass, const MergedHead& merged) {
    CompareFloats(name_, stem + ".k", merged.k, kElasticTolerance, folder_, report_);
    CompareFloats(name_, stem + ".v", merged.v, kElasticTolerance, folder_, report_);
    if (!mass.empty()) {
      CompareFloats(name_, mass, ToFloats(merged.mass), kElasticTolerance, folder_, report_);
    }
  }

  // Folded twice: only mass-weighted merging keeps the true mean.
  void CheckRemerge() {
    const std::vector<int32_t> first = CheckSelection("importance", "anchors1", "n1");
    const MergedHead once = MergeAll(prompt_, first, MergeMode::kMass);
    CompareMerged("mass1", "mass1", once);
    const std::vector<int32_t> second = CheckSelection("importance2", "anchors2", "n2");
    if (folder_->Shape(name_ + "/importance2") !=
        std::vector<int64_t>{static_cast<int64_t>(first.size())}) {
      return report_->Failed("mass2", "importance2 has another length");
    }
    const ElasticPrompt folded{.k = once.k,
                               .v = once.v,
                               .heads = prompt_.heads,
                               .entries = static_cast<int32_t>(first.size()),
                               .dims = prompt_.dims,
                               .importance = {},
                               .mass = once.mass};
    CompareMerged("mass2", "mass2", MergeAll(folded, second, MergeMode::kMass));
    CompareMerged("mean2", "", MergeAll(folded, second, MergeMode::kMean));
  }

  const nlohmann::json& info_;
  std::string name_;
  GoldenFolder* folder_;
  Report* report_;
  ElasticPrompt prompt_;
};

}  // namespace

absl::Status CheckElastic(GoldenFolder* folder, Report* report) {
  for (const nlohmann::json& info : folder->info().at("cases")) {
    ElasticCase(info, folder, report).Check();
  }
  return absl::OkStatus();
}

}  // namespace concertina::testing
