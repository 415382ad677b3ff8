#include "session_driver.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace concertina::testing {
namespace {

constexpr std::string_view kAdaptive = "concertina_adaptive";

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace

float Element(uint32_t session, int layer, int head, uint32_t birth, int64_t dim, bool value) {
  const uint64_t key = (uint64_t{session} << 40) ^ (uint64_t{birth} << 16) ^
                       (static_cast<uint64_t>(layer) << 8) ^ (static_cast<uint64_t>(head) << 4) ^
                       (value ? 1U : 0U);
  const uint64_t bits = Mix(Mix(key) + static_cast<uint64_t>(dim));
  return static_cast<float>(static_cast<int>(bits % 256) - 128) / 128.0F;
}

float StoredError(EntryType type) {
  return type == EntryType::kInt8 ? 0.5F / 127 + 1.0F / 256 : 0.0F;
}

LayerPrompt* PromptWorkspace::Prepare(const SessionCache& cache) {
  const CacheShape shape = cache.shape();
  const int64_t capacity = cache.PrefillEntries() + 3;  // strides are not the entry count
  const auto entries = static_cast<size_t>(capacity * shape.kv_heads);
  k_.assign(entries * shape.head_dim, 0.0F);
  v_.assign(entries * shape.head_dim, 0.0F);
  score_.assign(entries, -1.0F);
  repeated_.assign(cache.repeats_prompts() ? entries : 0, -1.0F);
  birth_.assign(entries, 0);
  mass_.assign(entries, 0);
  prompt_ = {.k = k_.data(),
             .v = v_.data(),
             .score = score_.data(),
             .birth = birth_.data(),
             .mass = mass_.data(),
             .repeated = repeated_.empty() ? nullptr : repeated_.data(),
             .capacity = capacity};
  return &prompt_;
}

LayerWriter ElementWriter(uint32_t session) {
  return [session](const SessionCache& cache, int layer, LayerPrompt* prompt) {
    const CacheShape shape = cache.shape();
    for (int head = 0; head < shape.kv_heads; ++head) {
      for (int32_t i = prompt->First(head); i < prompt->entries(); ++i) {
        const int64_t at = head * prompt->capacity + i;
        const uint32_t birth = prompt->birth[at];
        const uint64_t noise = Mix(Mix(birth + (uint64_t{session} << 32)) + layer * 17 + head);
        prompt->score[at] += static_cast<float>(noise % 1000) / 100.0F;
        if (prompt->repeated != nullptr) {
          prompt->repeated[at] += static_cast<float>(noise / 1000 % 1000) / 100.0F;
        }
        for (int64_t d = 0; i >= prompt->old_entries && d < shape.head_dim; ++d) {
          prompt->k[at * shape.head_dim + d] = Element(session, layer, head, birth, d, false);
          prompt->v[at * shape.head_dim + d] = Element(session, layer, head, birth, d, true);
        }
      }
    }
  };
}

absl::Status Prefill(SessionCache& cache, int32_t tokens, const LayerWriter& writer,
                     std::vector<FoldReport>* folds, const std::vector<TokenSpan>& pins) {
  absl::Status begun = cache.BeginPrefill(tokens, pins);
  return begun.ok() ? FoldPrompt(cache, writer, folds) : begun;
}

absl::Status FoldPrompt(SessionCache& cache, const LayerWriter& writer,
                        std::vector<FoldReport>* folds) {
  PromptWorkspace workspace;
  LayerPrompt* prompt = workspace.Prepare(cache);
  for (int layer = 0; cache.measuring(); ++layer) {
    cache.LoadLayer(layer, prompt);
    writer(cache, layer, prompt);
    if (absl::Status measured = cache.MeasureLayer(layer, *prompt); !measured.ok()) {
      return measured;
    }
  }
  for (int layer = 0; layer < cache.shape().layers; ++layer) {
    cache.LoadLayer(layer, prompt);
    writer(cache, layer, prompt);
    absl::StatusOr<FoldReport> report = cache.FoldLayer(layer, *prompt);
    if (!report.ok()) {
      return report.status();
    }
    if (folds != nullptr) {
      folds->push_back(*report);
    }
  }
  cache.CommitPrefill();
  return absl::OkStatus();
}

absl::Status DecodeToken(SessionCache& cache, uint32_t session) {
  const CacheShape shape = cache.shape();
  const auto birth = static_cast<uint32_t>(cache.seen());
  std::vector<float> k(static_cast<size_t>(shape.kv_heads * shape.head_dim));
  std::vector<float> v(k.size());
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      for (int64_t d = 0; d < shape.head_dim; ++d) {
        k[head * shape.head_dim + d] = Element(session, layer, head, birth, d, false);
        v[head * shape.head_dim + d] = Element(session, layer, head, birth, d, true);
      }
    }
    if (absl::Status appended = cache.AppendToken(layer, k.data(), v.data()); !appended.ok()) {
      cache.AbandonToken();
      return appended;
    }
    for (int head = 0; head < shape.kv_heads; ++head) {
      float* scores = cache.LiveScores(layer, head);
      for (const int32_t slot : std::as_const(cache).Head(layer, head).SlotsInBirthOrder()) {
        scores[slot] += static_cast<float>(Mix(birth * 31 + slot + layer) % 100) / 1000.0F;
      }
    }
    cache.EvictLayer(layer);
  }
  cache.CommitToken();
  return absl::OkStatus();
}

HeadContents Contents(const SessionCache& cache, int layer, int head) {
  const HeadCache& held = cache.Head(layer, head);
  HeadContents contents;
  std::vector<float> row(static_cast<size_t>(cache.shape().head_dim));
  for (const int32_t slot : held.SlotsInBirthOrder()) {
    const EntryMeta meta = held.Meta(slot);
    contents.births.push_back(meta.birth);
    contents.masses.push_back(meta.mass);
    contents.scores.push_back(UnpackScore(meta.score));
    held.LoadKey(slot, row.data());
    contents.k.insert(contents.k.end(), row.begin(), row.end());
    held.LoadValue(slot, row.data());
    contents.v.insert(contents.v.end(), row.begin(), row.end());
  }
  return contents;
}

std::unique_ptr<PagePool> MakePool(int64_t pages, CacheShape shape) {
  auto pool = PagePool::Create(pages * PageBytesFor(shape), PageBytesFor(shape));
  if (!pool.ok()) {
    throw std::runtime_error(pool.status().ToString());
  }
  return *std::move(pool);
}

std::vector<std::string_view> PoliciesToTest() {
  const auto registered = PolicyNames();
  std::vector<std::string_view> names(registered.begin(), registered.end());
  names.push_back(kAdaptive);
  return names;
}

std::string TestName(std::string_view policy) {
  std::string name(policy);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::shared_ptr<const Policy> PolicyOf(std::string_view name, const PolicyOptions& options) {
  PolicyOptions chosen = options;
  chosen.adaptive_heads |= name == kAdaptive;
  auto policy = MakePolicy(name == kAdaptive ? "concertina" : name, chosen);
  if (!policy.ok()) {
    throw std::runtime_error(policy.status().ToString());
  }
  return *std::move(policy);
}

}  // namespace concertina::testing
