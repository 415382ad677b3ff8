// Text goldens of an installed GGUF model.
#include <algorithm>
#include <optional>

#include "models/chat/tokenized_prompt.h"
#include "models/kernels/logits.h"
#include "tests/golden/compare.h"
#include "tests/golden/folder_checks.h"
#include "tests/golden/forward_check.h"
#include "tests/golden/session_player.h"
#include "tests/golden/tokenizer_rows.h"

namespace concertina::testing {
namespace {

// A choice between logits closer than this may fall either way.
constexpr float kClearMargin = 0.01F;

class TextCase {
 public:
  TextCase(const std::shared_ptr<const Model>& model, SessionPlayer* player,
           const nlohmann::json& info, GoldenFolder* folder, Report* report)
      : model_(*model), player_(player), info_(info), folder_(folder), report_(report) {}

  void Check() {
    name_ = info_.at("name");
    report_->BeginCase(name_);
    if (info_.contains("messages") && info_["messages"].is_array()) {
      messages_ = MessagesFromJson(info_["messages"]);
    }
    CheckTokens();
    ids_ = folder_->Ints(name_ + "/input_ids");
    if (!IdsInRange(ids_, config(), "input_ids", report_)) return;
    greedy_ = folder_->Ints(name_ + "/greedy_ids");
    ReadMargins();
    CheckForward();
    CheckContinuation();
    CheckGreedySteps();
    CheckSession();
  }

 private:
  const LanguageConfig& config() const { return model_.language->config(); }

  void CheckTokens() {
    const Tokenizer& tokenizer = *model_.tokenizer;
    std::vector<TokenId> ids;
    if (messages_) {
      const std::vector<PromptPiece> pieces = model_.chat->Render(*messages_, true);
      CompareText("prompt", PromptText(model_, pieces), info_.at("prompt"), report_);
      const auto tokens = TokenizePrompt(tokenizer, pieces, true, -1, 0);
      if (!tokens.ok()) {
        return report_->Failed("input_ids", std::string(tokens.status().message()));
      }
      ids = tokens->ids;
    } else {
      ids = tokenizer.Encode(info_.at("prompt").get<std::string>(), Tokenizer::Special::kParse);
      if (tokenizer.adds_bos()) ids.insert(ids.begin(), *tokenizer.bos());
    }
    CompareInts(name_, "input_ids", ids, folder_, report_);
    if (info_.contains("continuation")) {
      const std::string text = info_["continuation"];
      CompareInts(name_, "continuation_ids", tokenizer.Encode(text, Tokenizer::Special::kParse),
                  folder_, report_);
    }
  }

  // How clear each greedy choice is in the reference; all of them if it does not say.
  void ReadMargins() {
    const std::vector<float> top2 = folder_->Floats(name_ + "/greedy_top2_logits");
    clear_.assign(greedy_.size(), true);
    for (size_t i = 0; i < greedy_.size() && 2 * i + 1 < top2.size(); ++i) {
      clear_[i] = top2[2 * i] - top2[2 * i + 1] > kClearMargin;
    }
  }

  void CheckForward() {
    const auto n = static_cast<int64_t>(ids_.size());
    const auto vocab = static_cast<size_t>(config().vocab);
    FullCacheForward forward(*model_.language,
                             {.capacity = n + static_cast<int64_t>(greedy_.size()),
                              .column_sums = WantsColumnSums(name_, *folder_),
                              .hidden_states = !folder_->IndicesOf(name_, "hidden.").empty()});
    std::vector<float> x = EmbedPrompt(*model_.language, ids_, -1, {});
    forward.Append(n, nullptr, x.data());
    CompareState(forward, config(), name_, folder_, report_);
    const std::vector<float> last = forward.Logits(x.data() + (n - 1) * config().hidden, 1);
    CompareTop(name_, "top20_ids", "top20_logits", last, vocab, kSmolLogitTolerance, folder_,
               report_);
    CompareFloats(name_, "logsumexp_last", {static_cast<float>(LogSumExp(last))},
                  kSmolLogitTolerance, folder_, report_);
    if (greedy_.empty() || !IdsInRange(greedy_, config(), "greedy_ids", report_)) return;
    const std::vector<float> steps = ContinuationLogits(&forward, *model_.language, last, greedy_);
    CompareTop(name_, "greedy_top2_ids", "greedy_top2_logits", steps, vocab, kSmolLogitTolerance,
               folder_, report_);
    if (info_.contains("greedy_text")) {
      CompareText("greedy_text", model_.tokenizer->Decode(greedy_, /*skip_special=*/false),
                  info_["greedy_text"], report_);
    }
  }

  // Teacher-forced, through the engine's Score.
  void CheckContinuation() {
    const std::vector<int32_t> continuation = folder_->Ints(name_ + "/continuation_ids");
    if (!folder_->Has(name_ + "/continuation_logprobs") ||
        !IdsInRange(continuation, config(), "continuation_logprobs", report_)) {
      return;
    }
    const auto score = player_->Score(ids_, continuation, /*stepwise=*/false);
    if (!score.ok()) {
      return report_->Failed("continuation_logprobs", std::string(score.status().message()));
    }
    CompareFloats(name_, "continuation_logprobs", score->logprobs, kSmolLogitTolerance, folder_,
                  report_);
  }

  // Every choice of the greedy run, made by the engine's decode steps after the reference's earlier
  // ones.
  void CheckGreedySteps() {
    if (greedy_.empty()) return;
    const auto score = player_->Score(ids_, greedy_, /*stepwise=*/true);
    if (!score.ok()) return report_->Failed("greedy_ids", std::string(score.status().message()));
    int64_t differing = score->argmax_ids.size() == greedy_.size() ? 0 : 1;
    int64_t unclear = 0;
    for (size_t i = 0; i < greedy_.size() && differing == 0; ++i) {
      unclear += clear_[i] ? 0 : 1;
      differing += clear_[i] && score->argmax_ids[i] != greedy_[i] ? 1 : 0;
    }
    report_->Exact("greedy_ids", differing, Unclear(unclear));
  }

  // A conversation also as a session that generates freely, up to the first unclear choice.
  void CheckSession() {
    if (!messages_ || greedy_.empty()) return;
    const std::string quantity = "session greedy_ids";
    const auto conversation = ToSession(*messages_, {});
    if (!conversation.ok()) {
      return report_->NotChecked(quantity, std::string(conversation.status().message()));
    }
    const auto ids = SessionIds(model_, *conversation);
    if (!ids.ok()) return report_->Failed("session input_ids", std::string(ids.status().message()));
    CompareInts(name_, "input_ids", *ids, folder_, report_, "session input_ids");
    const auto turn = player_->Answer(*conversation, static_cast<int32_t>(greedy_.size()));
    if (!turn.ok()) return report_->Failed(quantity, std::string(turn.status().message()));
    const auto unclear = std::find(clear_.begin(), clear_.end(), false);
    const auto compared =
        std::min(static_cast<size_t>(unclear - clear_.begin()), turn->tokens.size());
    const int64_t differing =
        CountDiffering(std::span(turn->tokens).first(compared), std::span(greedy_).first(compared));
    const bool short_answer = turn->tokens.size() != greedy_.size();
    report_->Exact(quantity, short_answer ? 1 : differing,
                   Unclear(static_cast<int64_t>(greedy_.size() - compared)));
  }

  static std::string Unclear(int64_t count) {
    return count == 0 ? "" : std::to_string(count) + " too close to call";
  }

  const Model& model_;
  SessionPlayer* player_;
  const nlohmann::json& info_;
  GoldenFolder* folder_;
  Report* report_;
  std::string name_;
  std::optional<std::vector<ChatMessage>> messages_;
  std::vector<int32_t> ids_, greedy_;
  std::vector<bool> clear_;
};

void CheckVocabulary(const Model& model, const nlohmann::json& info, Report* report) {
  if (!info.contains("control_tokens")) return;
  report->BeginCase("vocabulary");
  int64_t missing = 0;
  for (const std::string token : info["control_tokens"]) {
    const std::optional<TokenId> id = model.tokenizer->Find(token);
    missing += id && model.tokenizer->IsSpecial(*id) ? 0 : 1;
  }
  report->Exact("control_tokens", missing);
}

}  // namespace

absl::Status CheckInstalledText(const InstalledModels& models, GoldenFolder* folder,
                                Report* report) {
  auto path = models.FindBySha256(folder->info().at("gguf_sha256"));
  if (!path.ok()) return path.status();
  auto model = LoadModel(
      {.path = *path, .vision_path = {}, .weight_type = MatrixType::kF32, .chat_family = {}});
  if (!model.ok()) return model.status();
  CheckVocabulary(**model, folder->info(), report);
  CheckTokenizerRows(folder->path(), *(*model)->tokenizer, report);
  SessionPlayer player(*model, (*model)->language->config().max_positions);
  for (const nlohmann::json& info : folder->info().at("cases")) {
    TextCase(*model, &player, info, folder, report).Check();
  }
  return absl::OkStatus();
}

}  // namespace concertina::testing
