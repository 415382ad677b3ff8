#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/policies/policy.h"
#include "models/language/language_config.h"
#include "models/language/language_weights.h"
#include "models/tensor/device_model.h"
#include "models/weights/tensor_source.h"

namespace concertina {

class TensorDecoder;

struct TensorEngineOptions {
  std::string device = "cpu";          // as LibTorch names it: "cpu", "cuda", "cuda:1"
  TensorType type = TensorType::kF32;  // weights, activations and cache entries
  int32_t rows = 1;                    // conversations that can be open at a time
  int64_t pool_pages = 0;              // of entries_per_page entries of one layer and KV head
  int32_t entries_per_page = 16;
  std::string policy = "concertina";
  PolicyOptions policy_options;
  Budget budget;        // a ratio or tokens
  bool capture = true;  // replay decode steps as a graph where the device can
};

// A Llama decoder with elastic caches on a LibTorch device: prompts are folded layer by layer, open
// rows decode together, every layer evicts down to its share, by the policies and budgets of
// `cache/`. It differs from SessionCache with the server's engine in that
//   - all rows have one policy and one budget, in entries (byte budgets are UNIMPLEMENTED),
//   - conversations past the trained context are refused,
//   - a row may keep one page per head more than its entries need, so that a decode step that
//     appends before it evicts does not pass pages to and fro.
// Every open row gets one token per decode step; rows that are not open are computed too and write
// to a page of their own, so that a step has the same shape whichever rows are open.
//
// One thread at a time. Errors: INVALID_ARGUMENT; FAILED_PRECONDITION at the context's end;
// RESOURCE_EXHAUSTED when pages lack: Prefill then closes its row, Decode changes nothing; INTERNAL
// with LibTorch's message, out of memory included.
class TensorEngine {
 public:
  // With weights of a file.
  static absl::StatusOr<std::unique_ptr<TensorEngine>> Load(const LanguageConfig& config,
                                                            const TensorSource& source,
                                                            WeightNaming naming,
                                                            const TensorEngineOptions& options);
  // With random weights: for measuring.
  static absl::StatusOr<std::unique_ptr<TensorEngine>> Random(const LanguageConfig& config,
                                                              uint64_t seed,
                                                              const TensorEngineOptions& options);
  ~TensorEngine();
  TensorEngine(const TensorEngine&) = delete;
  TensorEngine& operator=(const TensorEngine&) = delete;

  const LanguageConfig& config() const;

  // Another policy and budget, from now on. Closes every row.
  absl::Status SetPolicy(const std::string& name, const PolicyOptions& options,
                         const Budget& budget);

  // Takes a prompt into `row` (opening it), folding each layer when the prompt has passed it.
  absl::Status Prefill(int32_t row, std::span<const int32_t> ids);

  // One token for every open row: ids[row], or, without ids, the likeliest after the last one.
  // Returns before the device has finished.
  absl::Status Decode(std::span<const int32_t> ids = {});

  // [rows][vocab], of each row's newest token; waits for the device.
  absl::StatusOr<std::vector<float>> Logits() const;

  // Frees the row's pages. Nothing to do when it is not open.
  void Close(int32_t row);

  // Waits until the device has finished.
  absl::Status Synchronize() const;

  int32_t entries(int32_t row, int32_t layer) const;  // per KV head
  int64_t seen(int32_t row) const;
  int64_t weight_bytes() const;
  int64_t used_bytes() const;      // pages given out
  int64_t metadata_bytes() const;  // tables, orders, scores

  // What one head holds, in birth order. For tests.
  struct HeadEntries {
    std::vector<uint32_t> births;
    std::vector<float> k, v;      // [entries][head_dim]
    std::vector<float> scores;    // empty where the policy needs none
    std::vector<int32_t> masses;  // likewise; then births is empty too
  };
  absl::StatusOr<HeadEntries> Contents(int32_t row, int32_t layer, int32_t head) const;

 private:
  explicit TensorEngine(std::unique_ptr<TensorDecoder> decoder);

  std::unique_ptr<TensorDecoder> decoder_;
};

}  // namespace concertina
