// Methods that only read the model: no engine call is needed.

#include <memory>
#include <string>

#include "concertina/v1/inference_service.pb.h"
#include "models/bundle/weight_copies.h"
#include "models/kernels/isa.h"
#include "models/tuning/weight_types.h"
#include "server/rpc/calls/methods.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {
namespace {

// A request with a text of the whole limit must fit, its tags and flags included.
constexpr int64_t kTokenizeOverheadBytes = 16;

v1::WeightRole Render(WeightCopy::Role role) {
  switch (role) {
    case WeightCopy::Role::kAll:
      return v1::WEIGHT_ROLE_ALL;
    case WeightCopy::Role::kDecode:
      return v1::WEIGHT_ROLE_DECODE;
    case WeightCopy::Role::kPrefill:
      return v1::WEIGHT_ROLE_PREFILL;
    case WeightCopy::Role::kVision:
      break;
  }
  return v1::WEIGHT_ROLE_VISION;
}

void Render(const WeightCopy& copy, v1::WeightCopy* to) {
  to->set_role(Render(copy.role));
  to->set_type(std::string(MatrixTypeName(copy.type)));
  to->set_bytes(copy.bytes);
  to->set_parameters(copy.parameters);
  to->set_bytes_per_parameter(copy.bytes_per_parameter());
  to->set_rows_from(copy.rows_from);
  to->set_read_bytes_per_second(copy.read_bytes_per_second);
  to->set_operations_per_second(copy.operations_per_second);
}

void RenderModel(const RpcEnvironment& env, v1::GetModelResponse* response) {
  const Model& model = env.engine.model();
  const LanguageConfig& config = model.config;
  response->set_name(env.model_name);
  response->set_chat_family(std::string(model.chat->family()));
  response->set_layers(config.layers);
  response->set_heads(config.heads);
  response->set_kv_heads(config.kv_heads);
  response->set_head_dim(config.head_dim);
  response->set_hidden_size(config.hidden);
  response->set_vocab_size(config.vocab);
  response->set_max_positions(config.max_positions);
  response->set_image_tokens(model.vision == nullptr ? 0 : model.image_tokens);
  response->set_weight_type(PlanName(model.weights.language));
  response->set_weight_bytes(model.weight_bytes);
  response->set_deterministic(IsDeterministic(model));
  response->set_parameters(ParametersOf(model));
  response->set_kernels(isa::Active().name);
  response->set_device(model.device ? model.device->device() : kHostDevice);
  for (const WeightCopy& copy : ListCopies(model)) Render(copy, response->add_weight_copies());
}

void RenderDefaults(const EngineOptions& options, v1::GetModelResponse* response) {
  response->mutable_default_policy()->set_name(options.default_policy);
  response->mutable_default_policy()->set_entry_type(Render(options.default_entry_type));
  response->mutable_default_policy()->set_probe_tokens(options.default_probe_tokens);
  response->mutable_default_policy()->set_image_budget(options.default_image_budget);
  Render(options.default_budget, response->mutable_default_budget());
  for (const std::string_view name : PolicyNames()) response->add_policies(std::string(name));
  response->set_default_entry_type(Render(options.default_entry_type));
}

void RenderTokens(const Tokenizer& tokenizer, const v1::TokenizeRequest& request,
                  v1::TokenizeResponse* response) {
  const auto special =
      request.allow_special() ? Tokenizer::Special::kParse : Tokenizer::Special::kInert;
  std::vector<TokenId> ids = tokenizer.Encode(request.text(), special);
  if (request.add_special() && tokenizer.adds_bos() && tokenizer.bos().has_value()) {
    ids.insert(ids.begin(), *tokenizer.bos());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    response->add_ids(ids[i]);
    tokenizer.AppendBytes(ids[i], /*at_start=*/i == 0, response->add_pieces());
  }
}

}  // namespace

Reactor* Tokenize(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::TokenizeRequest& request) {
    v1::TokenizeResponse response;
    RenderTokens(*env.engine.model().tokenizer, request, &response);
    call->Reply(response);
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::TokenizeRequest>(
      env, "Tokenize", env.limits.small_message_bytes + kTokenizeOverheadBytes, raw, handler);
}

Reactor* GetModel(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call, const v1::GetModelRequest&) {
    v1::GetModelResponse response;
    RenderModel(env, &response);
    RenderDefaults(env.engine.options(), &response);
    call->Reply(response);
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::GetModelRequest>(env, "GetModel", env.limits.small_message_bytes, raw,
                                               handler);
}

}  // namespace concertina::calls
