#include "server/app/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "cache/entry_layout.h"
#include "server/app/units.h"

namespace concertina {
namespace {

// Measured, on x86-64 with Debian 12's libraries: what a process has before it has a model
// (LibTorch, gRPC, OpenCV, their threads' stacks and heaps).
constexpr int64_t kBaseBytes = int64_t{256} << 20;
// Of a vocabulary with its merges and pieces, per token of it.
constexpr int64_t kTokenizerBytesPerToken = 1024;
// Of an open session beside its pages and its transcript: per layer and KV head, and once.
constexpr int64_t kSessionHeadBytes = 512;
constexpr int64_t kSessionBytes = 8 << 10;
// Of one pixel of a picture while it is decoded and resized, the decoder's own included.
constexpr int64_t kDecodeBytesPerPixel = 20;
// Of a call beside its message: HTTP/2 stream, reactor, text waiting for the client.
constexpr int64_t kCallBytes = 96 << 10;
// An upload grows in a buffer that doubles.
constexpr int64_t kUploadGrowth = 2;
// Of what is allocated and freed in many sizes, this share is lost between the pieces.
constexpr int64_t kFragmentedShare = 10;

std::string Times(int64_t count, const std::string& what, int64_t bytes) {
  return absl::StrCat(count, " ", what, " x ", FormatBytes(bytes));
}

MemoryPart Product(std::string name, int64_t count, const std::string& what, int64_t bytes) {
  return {std::move(name), count * bytes, Times(count, what, bytes)};
}

void AddModelParts(const ServerConfig& config, const Model& model, int64_t workspace_bytes,
                   MemoryPlan& plan) {
  const LanguageConfig& language = model.config;
  plan.parts.push_back({"base", kBaseBytes, "libraries, threads and their heaps, as measured"});
  plan.parts.push_back({"weights", model.weight_bytes - model.device_bytes, "packed matrices"});
  plan.parts.push_back(Product("tokenizer", language.vocab, "tokens", kTokenizerBytesPerToken));
  if (model.device != nullptr && model.device->accelerator()) {
    plan.parts.push_back({"pool", 0, "on the accelerator"});
  } else {
    plan.parts.push_back({"pool", config.engine.pool_bytes, "pool-bytes"});
  }
  plan.parts.push_back(
      {"workspace", workspace_bytes, "prefill of the longest prompt, logits, picture features"});
}

void AddSessionParts(const ServerConfig& config, const Model& model, MemoryPlan& plan) {
  const LanguageConfig& language = model.config;
  const EngineOptions& engine = config.engine;
  const int64_t heads = int64_t{language.layers} * language.kv_heads;
  plan.parts.push_back(Product("sessions", engine.max_sessions, "sessions",
                               kSessionBytes + heads * kSessionHeadBytes));
  plan.parts.push_back({"transcripts", engine.max_transcript_bytes, "max-transcript-bytes"});
}

void AddCallParts(const ServerConfig& config, MemoryPlan& plan) {
  const RpcLimits& limits = config.limits;
  plan.parts.push_back(Product("calls", limits.max_calls, "calls", kCallBytes));
  plan.parts.push_back({"requests", limits.max_request_bytes, "max-request-bytes"});
  plan.parts.push_back({"receiving", limits.max_request_bytes, "max-request-bytes"});
  plan.parts.push_back(
      Product("uploads", limits.max_uploads, "uploads", kUploadGrowth * limits.images.max_bytes));
  plan.parts.push_back(Product("decoders", limits.max_decoders, "pictures",
                               kDecodeBytesPerPixel * limits.images.max_pixels));
  plan.parts.push_back({"image_store", limits.image_store_bytes, "image-store-bytes"});
}

}  // namespace

int64_t MemoryPlan::total_bytes() const {
  return std::accumulate(parts.begin(), parts.end(), int64_t{0},
                         [](int64_t sum, const MemoryPart& part) { return sum + part.bytes; });
}

int64_t MemoryPlan::bytes_of(const std::string& name) const {
  const auto found = std::find_if(parts.begin(), parts.end(),
                                  [&](const MemoryPart& part) { return part.name == name; });
  return found == parts.end() ? 0 : found->bytes;
}

MemoryPlan PlanMemory(const ServerConfig& config, const Model& model, int64_t workspace_bytes) {
  MemoryPlan plan;
  AddModelParts(config, model, workspace_bytes, plan);
  const int64_t fixed = plan.total_bytes();
  AddSessionParts(config, model, plan);
  AddCallParts(config, plan);
  plan.parts.push_back({"fragments", (plan.total_bytes() - fixed) / kFragmentedShare,
                        "a tenth of everything from sessions on"});
  return plan;
}

std::string FormatMemoryPlan(const MemoryPlan& plan) {
  std::string text = "# Upper bound of resident memory, in bytes\n";
  for (const MemoryPart& part : plan.parts) {
    absl::StrAppend(&text, part.name, "_bytes = ", part.bytes, "  # ", part.why, "\n");
  }
  absl::StrAppend(&text, "memory_bound_bytes = ", plan.total_bytes(), "\n");
  return text;
}

std::string SummariseMemoryPlan(const MemoryPlan& plan) {
  std::string text = absl::StrCat("memory at most ", plan.total_bytes() >> 20, " MiB:");
  for (const MemoryPart& part : plan.parts) {
    absl::StrAppend(&text, " ", part.name, "=", part.bytes >> 20);
  }
  return text;
}

}  // namespace concertina
