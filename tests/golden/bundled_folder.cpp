// Conversations about pictures of the bundled model, turn by turn.
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "server/engine/prompt_builder.h"
#include "tests/golden/compare.h"
#include "tests/golden/folder_checks.h"
#include "tests/golden/forward_check.h"
#include "tests/golden/pictures.h"
#include "tests/golden/session_player.h"

namespace concertina::testing {
namespace {

constexpr int32_t kAnswerTokensMax = 72;  // of the reference's greedy runs

class SceneCase {
 public:
  SceneCase(const std::shared_ptr<const Model>& model, SessionPlayer* player,
            const nlohmann::json& info, GoldenFolder* folder, Report* report)
      : model_(*model), player_(player), info_(info), folder_(folder), report_(report) {}

  void Check() {
    const std::string name = info_.at("name");
    report_->BeginCase(name);
    std::vector<std::string> paths;
    for (const nlohmann::json& file : info_.at("images")) {
      paths.push_back(absl::StrCat(folder_->path(), "/", file.get<std::string>()));
    }
    const auto images = LoadPictures(model_, paths);
    if (!images.ok()) return report_->Failed("images", std::string(images.status().message()));
    features_ = CheckVision(model_, *images, name, folder_, report_);
    const nlohmann::json& turns = info_.at("turns");
    for (size_t i = 0; i < turns.size(); ++i) {
      const std::string question = turns[i].at("question");
      Turn turn{.prefix = absl::StrCat(name, "/turn", i), .question = {}, .info = turns[i]};
      if (i == 0) {
        for (const auto& image : *images) turn.question.push_back({.text = {}, .image = image});
      }
      turn.question.push_back({.text = question, .image = nullptr});
      turn.ids = folder_->Ints(turn.prefix + "/input_ids");
      turn.greedy = folder_->Ints(turn.prefix + "/greedy_ids");
      turns_.push_back(std::move(turn));
    }
    CheckForward();
    CheckSession();
  }

 private:
  struct Turn {
    std::string prefix;
    std::vector<ContentPart> question;
    const nlohmann::json& info;
    std::vector<int32_t> ids, greedy;
  };

  const LanguageConfig& config() const { return model_.language->config(); }
  std::string Label(const Turn& turn, const std::string& quantity) const {
    return turn.prefix.substr(turn.prefix.rfind('/') + 1) + " " + quantity;
  }

  // The reference's tokens of all turns through one full cache.
  void CheckForward() {
    if (turns_.empty()) return;
    FullCacheForward forward(*model_.language,
                             {.capacity = static_cast<int64_t>(turns_.back().ids.size())});
    for (const Turn& turn : turns_) {
      const std::string label = Label(turn, "input_ids");
      if (!IdsInRange(turn.ids, config(), label, report_)) return;
      const auto done = static_cast<size_t>(forward.tokens());
      if (turn.ids.size() <= done || turn.ids.size() > turns_.back().ids.size()) {
        return report_->Failed(label, "does not continue the turn before");
      }
      const std::vector<int32_t> more(turn.ids.begin() + forward.tokens(), turn.ids.end());
      std::vector<float> x = EmbedPrompt(*model_.language, more, model_.image_token, features_);
      // A conversation with a picture runs with the adapter from its first token on.
      const std::vector<float> adapter(more.size(), 1.0F);
      const auto n = static_cast<int64_t>(more.size());
      forward.Append(n, adapter.data(), x.data());
      CompareTop(turn.prefix, "top20_ids", "top20_logits",
                 forward.Logits(x.data() + (n - 1) * config().hidden, 1),
                 static_cast<size_t>(config().vocab), kSmolLogitTolerance, folder_, report_,
                 Label(turn, ""));
    }
  }

  // All turns in one session of the engine, which remembers its own answers.
  void CheckSession() {
    const auto id = player_->Open({});
    if (!id.ok()) return report_->Failed("session", std::string(id.status().message()));
    std::vector<int32_t> ids;
    for (const Turn& turn : turns_) {
      const auto prompt = &turn == &turns_.front() ? FirstPrompt(model_, "", turn.question)
                                                   : NextPrompt(model_, turn.question);
      const auto played = player_->Turn(*id, turn.question, kAnswerTokensMax, false);
      if (!prompt.ok() || !played.ok()) {
        report_->Failed(Label(turn, "session"),
                        std::string((prompt.ok() ? played.status() : prompt.status()).message()));
        break;
      }
      ids.insert(ids.end(), prompt->prompt.begin(), prompt->prompt.end());
      CompareTurn(turn, ids, *played);
      ids.insert(ids.end(), played->tokens.begin(), played->tokens.end());
    }
    player_->Close(*id);
  }

  void CompareTurn(const Turn& turn, const std::vector<int32_t>& ids, const PlayedTurn& played) {
    CompareInts(turn.prefix, "input_ids", ids, folder_, report_, Label(turn, "input_ids"));
    const int64_t seen = played.tokens_at_start - static_cast<int64_t>(turn.ids.size());
    report_->Exact(Label(turn, "session tokens"), std::abs(seen));
    std::vector<int32_t> answer = played.tokens;
    if (played.stopped) answer.push_back(folder_->info().at("eos"));
    CompareInts(turn.prefix, "greedy_ids", answer, folder_, report_, Label(turn, "greedy_ids"));
    if (turn.info.contains("greedy_text")) {
      CompareText(Label(turn, "greedy_text"), played.text, turn.info["greedy_text"], report_);
    }
  }

  const Model& model_;
  SessionPlayer* player_;
  const nlohmann::json& info_;
  GoldenFolder* folder_;
  Report* report_;
  std::vector<float> features_;
  std::vector<Turn> turns_;
};

// The first installed model the vision folder fits.
absl::StatusOr<std::shared_ptr<const Model>> LoadBundled(const InstalledModels& models) {
  absl::Status refusal = absl::NotFoundError("no GGUF model is installed");
  for (const std::string& path : models.Candidates()) {
    auto model = LoadModel({.path = path,
                            .vision_path = models.vision,
                            .weight_type = MatrixType::kF32,
                            .chat_family = {}});
    if (model.ok()) return model;
    refusal = model.status();
  }
  return refusal;
}

}  // namespace

absl::Status CheckBundledModel(const InstalledModels& models, GoldenFolder* folder,
                               Report* report) {
  auto model = LoadBundled(models);
  if (!model.ok()) return model.status();
  report->BeginCase("model");
  const int32_t image_token = folder->info().at("image_token_index");
  const int32_t eos = folder->info().at("eos");
  report->Exact("image_token_index", image_token == (*model)->image_token ? 0 : 1);
  report->Exact("eos", (*model)->end_tokens == std::vector<TokenId>{eos} ? 0 : 1);
  SessionPlayer player(*model, (*model)->language->config().max_positions);
  for (const nlohmann::json& info : folder->info().at("cases")) {
    SceneCase(*model, &player, info, folder, report).Check();
  }
  return absl::OkStatus();
}

}  // namespace concertina::testing
