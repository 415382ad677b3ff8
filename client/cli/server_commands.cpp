#include <chrono>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/budget_text.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

void PrintCopy(const v1::WeightCopy& copy) {
  constexpr double kGiga = 1e9;
  std::printf("          %s: %s, %s, %.2f bytes per parameter", RoleName(copy.role()).c_str(),
              PrintableText(copy.type()).c_str(), FormatBytes(copy.bytes()).c_str(),
              copy.bytes_per_parameter());
  if (copy.rows_from() > 1) {
    std::printf(", from %s rows on", FormatCount(copy.rows_from()).c_str());
  }
  if (copy.operations_per_second() > 0) {
    std::printf("; %.1f GB/s at 1 row, %.0f GOP/s at 256", copy.read_bytes_per_second() / kGiga,
                copy.operations_per_second() / kGiga);
  }
  std::printf("\n");
}

int ShowModel(const Invocation& invocation) {
  const auto model = invocation.Connect()->GetModel();
  if (!model.ok()) return Fail(invocation, model.status());
  if (invocation.json) {
    PrintJson(ToJson(*model));
    return kExitOk;
  }
  std::string policies;
  for (const auto& policy : model->policies()) absl::StrAppend(&policies, " ", policy);
  std::printf("model     %s (%s)\n", PrintableText(model->name()).c_str(),
              PrintableText(model->chat_family()).c_str());
  std::printf("shape     %d layers, %d heads, %d KV heads of %d, hidden %d, %s tokens\n",
              model->layers(), model->heads(), model->kv_heads(), model->head_dim(),
              model->hidden_size(), FormatCount(model->vocab_size()).c_str());
  std::printf("context   %s tokens, %d per picture\n", FormatCount(model->max_positions()).c_str(),
              model->image_tokens());
  std::printf("weights   %s, %s, %s parameters%s\n", PrintableText(model->weight_type()).c_str(),
              FormatBytes(model->weight_bytes()).c_str(), FormatCount(model->parameters()).c_str(),
              model->deterministic() ? ", deterministic" : "");
  for (const auto& copy : model->weight_copies()) PrintCopy(copy);
  std::printf("kernels   %s\n", PrintableText(model->kernels()).c_str());
  std::printf("cache     policy %s, budget %s; policies:%s\n",
              PrintableText(model->default_policy().name()).c_str(),
              client::FormatBudget(model->default_budget()).c_str(),
              PrintableText(policies).c_str());
  return kExitOk;
}

struct HealthFlags {
  std::string service;
  double wait_s = 0;
};

int CheckHealth(const Invocation& invocation, const HealthFlags& flags) {
  const auto wait = std::chrono::milliseconds(static_cast<int64_t>(flags.wait_s * 1000));
  const absl::Status status = invocation.Connect()->CheckHealth(flags.service, wait);
  if (!status.ok()) return Fail(invocation, status);
  if (invocation.json) {
    PrintJson({{"status", "SERVING"}});
  } else {
    std::printf("SERVING\n");
  }
  return kExitOk;
}

struct TokenizeFlags {
  std::string text;
  bool allow_special = false;
  bool add_special = false;
};

int Tokenize(const Invocation& invocation, const TokenizeFlags& flags) {
  v1::TokenizeRequest request;
  request.set_text(flags.text);
  request.set_allow_special(flags.allow_special);
  request.set_add_special(flags.add_special);
  const auto tokens = invocation.Connect()->Tokenize(request);
  if (!tokens.ok()) return Fail(invocation, tokens.status());
  if (invocation.json) {
    PrintJson(
        {{"ids", std::vector<int32_t>(tokens->ids().begin(), tokens->ids().end())},
         {"pieces", std::vector<std::string>(tokens->pieces().begin(), tokens->pieces().end())}});
    return kExitOk;
  }
  for (int i = 0; i < tokens->ids_size(); ++i) {
    const std::string piece = i < tokens->pieces_size() ? tokens->pieces(i) : std::string();
    // Quoted and escaped as in JSON: a piece may be half a character.
    const std::string quoted =
        nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::printf("%7d  %s\n", tokens->ids(i), PrintableText(quoted).c_str());
  }
  return kExitOk;
}

}  // namespace

void AddServerCommands(CLI::App& app, Invocation& invocation) {
  app.add_subcommand("model", "Shows what is served")->callback([&invocation] {
    invocation.run = [&invocation] { return ShowModel(invocation); };
  });
  auto* health = app.add_subcommand("health", "Exits 0 if the server is serving");
  const auto health_flags = std::make_shared<HealthFlags>();
  health->add_option("--wait", health_flags->wait_s, "Wait up to this many seconds for it")
      ->check(CLI::Range(0.0, 86400.0));
  health->add_option("--service", health_flags->service, "A service's name; default: the server");
  health->callback([&invocation, health_flags] {
    invocation.run = [&invocation, health_flags] { return CheckHealth(invocation, *health_flags); };
  });
  auto* tokenize = app.add_subcommand("tokenize", "Shows the tokens of a text");
  const auto flags = std::make_shared<TokenizeFlags>();
  tokenize->add_option("text", flags->text, "The text")->required();
  tokenize->add_flag("--allow-special", flags->allow_special, "Parse special tokens in the text");
  tokenize->add_flag("--add-special", flags->add_special, "Add those of the post-processor");
  tokenize->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return Tokenize(invocation, *flags); };
  });
}

}  // namespace concertina::cli
