// A checkpoint with its goldens: LLaVA, or a Llama text model.
#include <algorithm>

#include "models/chat/tokenized_prompt.h"
#include "tests/golden/compare.h"
#include "tests/golden/folder_checks.h"
#include "tests/golden/forward_check.h"
#include "tests/golden/pictures.h"
#include "tests/golden/session_player.h"
#include "tests/golden/tokenizer_rows.h"

namespace concertina::testing {
namespace {

class CheckpointCase {
 public:
  CheckpointCase(const std::shared_ptr<const Model>& model, SessionPlayer* player,
                 const nlohmann::json& info, GoldenFolder* folder, Report* report)
      : model_(*model), player_(player), info_(info), folder_(folder), report_(report) {}

  void Check() {
    name_ = info_.at("name");
    report_->BeginCase(name_);
    const std::vector<ChatMessage> messages = MessagesFromJson(info_.at("messages"));
    std::vector<std::string> paths;
    for (const std::string file : info_.value("images", nlohmann::json::array())) {
      paths.push_back(folder_->path() + "/images/" + file);
    }
    const auto images = LoadPictures(model_, paths);
    if (!images.ok()) return report_->Failed("images", std::string(images.status().message()));
    CheckPrompt(messages);
    ids_ = folder_->Ints(name_ + "/input_ids");
    greedy_ = folder_->Ints(name_ + "/greedy_ids");
    if (!IdsInRange(ids_, config(), "input_ids", report_)) return;
    const std::vector<float> features = CheckVision(model_, *images, name_, folder_, report_);
    CheckForward(features);
    CheckSession(messages, *images);
  }

 private:
  const LanguageConfig& config() const { return model_.language->config(); }

  void CheckPrompt(const std::vector<ChatMessage>& messages) {
    const std::vector<PromptPiece> pieces = model_.chat->Render(messages, true);
    CompareText("prompt", PromptText(model_, pieces), info_.at("prompt"), report_);
    const auto tokens =
        TokenizePrompt(*model_.tokenizer, pieces, true, model_.image_token, model_.image_tokens);
    if (!tokens.ok()) {
      return report_->Failed("input_ids", std::string(tokens.status().message()));
    }
    CompareInts(name_, "input_ids", tokens->ids, folder_, report_);
  }

  // The prompt and the reference's continuation through the production layers.
  void CheckForward(const std::vector<float>& features) {
    const auto n = static_cast<int64_t>(ids_.size());
    const auto vocab = static_cast<size_t>(config().vocab);
    FullCacheForward forward(*model_.language,
                             {.capacity = n + static_cast<int64_t>(greedy_.size()),
                              .column_sums = WantsColumnSums(name_, *folder_),
                              .hidden_states = !folder_->IndicesOf(name_, "hidden.").empty()});
    std::vector<float> x = EmbedPrompt(*model_.language, ids_, model_.image_token, features);
    forward.Append(n, nullptr, x.data());
    CompareState(forward, config(), name_, folder_, report_);
    const std::vector<float> logits = CheckLogits(forward, x);
    if (greedy_.empty() || !IdsInRange(greedy_, config(), "greedy_ids", report_)) return;
    const std::vector<float> last(logits.end() - static_cast<int64_t>(vocab), logits.end());
    const std::vector<float> steps = ContinuationLogits(&forward, *model_.language, last, greedy_);
    CompareFloats(name_, "greedy_logits", steps, kTinyLogitTolerance, folder_, report_);
    CompareTop(name_, "greedy_top8_ids", "greedy_top8_values", steps, vocab, kTinyLogitTolerance,
               folder_, report_);
    CompareInts(name_, "greedy_ids", ArgMaxRows(steps, vocab), folder_, report_);
    if (info_.contains("greedy_text")) {
      CompareText("greedy_text", model_.tokenizer->Decode(greedy_, /*skip_special=*/true),
                  info_.at("greedy_text"), report_);
    }
  }

  // Returns the logits compared, at least the last row's.
  std::vector<float> CheckLogits(const FullCacheForward& forward, const std::vector<float>& x) {
    const bool all = folder_->Has(name_ + "/logits");
    int64_t rows = 1;
    if (all) {
      rows = forward.tokens();
    } else if (const auto shape = folder_->Shape(name_ + "/logits_tail"); shape.size() == 2) {
      rows = std::clamp<int64_t>(shape[0], 1, forward.tokens());
    }
    std::vector<float> logits =
        forward.Logits(x.data() + (forward.tokens() - rows) * config().hidden, rows);
    CompareFloats(name_, all ? "logits" : "logits_tail", logits, kTinyLogitTolerance, folder_,
                  report_);
    return logits;
  }

  // The same conversation in a session of the engine: earlier turns as its history.
  void CheckSession(const std::vector<ChatMessage>& messages, const PreparedImages& images) {
    const std::string quantity = "session greedy_ids";
    if (greedy_.empty()) return;
    const auto conversation = ToSession(messages, images);
    if (!conversation.ok()) {
      return report_->NotChecked(quantity, std::string(conversation.status().message()));
    }
    const auto ids = SessionIds(model_, *conversation);
    if (!ids.ok()) return report_->Failed("session input_ids", std::string(ids.status().message()));
    CompareInts(name_, "input_ids", *ids, folder_, report_, "session input_ids");
    const auto turn = player_->Answer(*conversation, static_cast<int32_t>(greedy_.size()));
    if (!turn.ok()) return report_->Failed(quantity, std::string(turn.status().message()));
    report_->Exact("session tokens",
                   std::abs(turn->tokens_at_start - static_cast<int64_t>(ids_.size())));
    CompareInts(name_, "greedy_ids", turn->tokens, folder_, report_, quantity);
  }

  const Model& model_;
  SessionPlayer* player_;
  const nlohmann::json& info_;
  GoldenFolder* folder_;
  Report* report_;
  std::string name_;
  std::vector<int32_t> ids_, greedy_;
};

int64_t LongestConversation(const GoldenFolder& folder) {
  int64_t longest = 0;
  for (const nlohmann::json& info : folder.info().at("cases")) {
    const std::string name = info.at("name");
    int64_t tokens = 0;
    for (const char* part : {"/input_ids", "/greedy_ids"}) {
      for (const int64_t size : folder.Shape(name + part)) tokens += size;
    }
    longest = std::max(longest, tokens);
  }
  return longest;
}

}  // namespace

absl::Status CheckCheckpoint(GoldenFolder* folder, Report* report) {
  auto model = LoadModel({.path = folder->path(),
                          .vision_path = {},
                          .weight_type = MatrixType::kF32,
                          .chat_family = {}});
  if (!model.ok()) return model.status();
  SessionPlayer player(*model, LongestConversation(*folder));
  for (const nlohmann::json& info : folder->info().at("cases")) {
    CheckpointCase(*model, &player, info, folder, report).Check();
  }
  CheckTokenizerRows(folder->path(), *(*model)->tokenizer, report);
  return absl::OkStatus();
}

}  // namespace concertina::testing
