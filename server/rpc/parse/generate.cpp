#include "server/rpc/parse/generate.h"

#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/checks.h"

namespace concertina {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

absl::Status CheckStops(const v1::GenerateRequest& request, const RpcLimits& limits) {
  if (request.stop_size() > limits.max_stops) {
    return FieldError("stop",
                      absl::StrCat("must not have more than ", limits.max_stops, " strings"));
  }
  for (int i = 0; i < request.stop_size(); ++i) {
    const auto bytes = static_cast<int64_t>(request.stop(i).size());
    if (bytes < 1 || bytes > limits.max_stop_bytes) {
      return FieldError(Indexed("stop", i),
                        absl::StrCat("must have 1 to ", limits.max_stop_bytes, " bytes"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckScalars(const v1::GenerateRequest& request, const RpcLimits& limits,
                          const EngineOptions& options) {
  if (auto s = CheckSessionId(request.session_id()); !s.ok()) return s;
  if (auto s = CheckParts(request.parts(), "parts", limits); !s.ok()) return s;
  if (auto s = CheckRange("max_tokens", int64_t{request.max_tokens()}, 0, options.max_tokens_limit);
      !s.ok()) {
    return s;
  }
  if (request.has_expected_turn()) {
    if (auto s = CheckRange("expected_turn", int64_t{request.expected_turn()}, 0, kMaxInt32);
        !s.ok()) {
      return s;
    }
  }
  return CheckStops(request, limits);
}

}  // namespace

absl::StatusOr<SamplingParams> ParseSampling(const v1::Sampling& sampling) {
  if (auto s = CheckRange("sampling.temperature", double{sampling.temperature()}, 0, 100);
      !s.ok()) {
    return s;
  }
  if (auto s = CheckRange("sampling.top_p", double{sampling.top_p()}, 0, 1); !s.ok()) return s;
  if (auto s = CheckRange("sampling.top_k", int64_t{sampling.top_k()}, 0, kMaxInt32); !s.ok())
    return s;
  if (!(sampling.min_p() >= 0 && sampling.min_p() < 1)) {
    return FieldError("sampling.min_p", "must be in [0, 1)");
  }
  if (auto s =
          CheckRange("sampling.repetition_penalty", double{sampling.repetition_penalty()}, 0, 10);
      !s.ok()) {
    return s;
  }
  SamplingParams params;
  params.temperature = sampling.temperature();
  params.top_p = sampling.top_p() == 0 ? 1 : sampling.top_p();
  params.top_k = sampling.top_k();
  params.min_p = sampling.min_p();
  params.repetition_penalty =
      sampling.repetition_penalty() == 0 ? 1 : sampling.repetition_penalty();
  params.seed = sampling.seed();
  return params;
}

absl::StatusOr<GenerateParams> ParseGenerate(const v1::GenerateRequest& request,
                                             const RpcLimits& limits, const EngineOptions& options,
                                             ImageResolver& images) {
  if (auto s = CheckScalars(request, limits, options); !s.ok()) return s;
  auto sampling = ParseSampling(request.sampling());
  if (!sampling.ok()) return sampling.status();
  GenerateParams params;
  params.session_id = request.session_id();
  params.max_tokens = request.max_tokens();
  params.sampling = *sampling;
  params.stop.assign(request.stop().begin(), request.stop().end());
  params.logprobs = request.logprobs();
  params.ignore_eos = request.ignore_eos();
  if (request.has_expected_turn()) params.expected_turn = request.expected_turn();
  const auto start = std::chrono::steady_clock::now();
  auto parts = ResolveParts(request.parts(), "parts", images);
  if (!parts.ok()) return parts.status();
  params.parts = *std::move(parts);
  params.image_time = std::chrono::steady_clock::now() - start;
  return params;
}

}  // namespace concertina
