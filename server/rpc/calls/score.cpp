#include "server/rpc/parse/score.h"

#include <memory>
#include <utility>

#include "server/rpc/calls/methods.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {
namespace {

void RenderScore(const ScoreResult& result, v1::ScoreResponse* response) {
  response->mutable_logprobs()->Add(result.logprobs.begin(), result.logprobs.end());
  response->mutable_argmax_ids()->Add(result.argmax_ids.begin(), result.argmax_ids.end());
  response->mutable_choice_logprobs()->Add(result.choice_logprobs.begin(),
                                           result.choice_logprobs.end());
  Render(result.cache, response->mutable_cache());
  for (const FoldReport& layer : result.layers) Render(layer, response->add_layers());
}

}  // namespace

Reactor* Score(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::ScoreRequest& request) -> absl::Status {
    auto params = ParseScore(request, env.engine.options(), env.engine.model());
    if (!params.ok()) return params.status();
    const auto response = std::make_shared<v1::ScoreResponse>();
    response->mutable_prompt_ids()->Add(params->prompt.begin(), params->prompt.end());
    response->mutable_continuation_ids()->Add(params->continuation.begin(),
                                              params->continuation.end());
    const auto handle =
        env.engine.Score(*std::move(params), [call, response](absl::StatusOr<ScoreResult> result) {
          if (!result.ok()) return call->Finish(result.status());
          RenderScore(*result, response.get());
          call->Reply(*response);
        });
    call->WhenCancelled([handle](absl::Status status) { handle->Cancel(std::move(status)); });
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::ScoreRequest>(env, "Score", env.limits.small_message_bytes, raw,
                                            handler);
}

}  // namespace concertina::calls
