#include "client/eval/dataset.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/eval/chat_records.h"
#include "client/eval/digest.h"
#include "client/eval/fields.h"
#include "client/eval/id_records.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {
namespace {

using nlohmann::json;

// Said again in every digest: a new meaning of the same record needs a new number.
constexpr char kVersion[] = "1";

bool IsTokenTurns(const json& turns) {
  return turns.is_array() && !turns.empty() && turns[0].is_object() && turns[0].contains("ids");
}

absl::Status Wrong(const DatasetOptions& options, size_t place, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(options.name, ":", place, ": ", what));
}

class Parser {
 public:
  explicit Parser(const DatasetOptions& options) : options_(options) {}

  bool full() const { return options_.limit > 0 && taken_ == options_.limit; }
  Dataset Take() { return std::move(dataset_); }

  // One element, `place` its line or index.
  absl::Status Add(const json& element, size_t place) {
    const size_t before = dataset_.records.size();
    const absl::Status status = Parse(element, absl::StrCat(options_.name, ":", place));
    if (!status.ok()) return Wrong(options_, place, status.message());
    if (dataset_.records.size() > before) ++taken_;
    return absl::OkStatus();
  }

 private:
  absl::Status Parse(const json& element, const std::string& name) {
    const bool bare = element.is_array();  // the turns of a conversation, and nothing else
    if (!bare && !element.is_object()) {
      return absl::InvalidArgumentError("must be an object or a list of turns");
    }
    const json& turns = bare ? element : Member(element, "turns");
    if (bare || IsTokenTurns(turns)) {
      auto conversation = ParseProbedConversation(turns);
      if (!conversation.ok()) return conversation.status();
      return Keep(element, name, "conversations", *std::move(conversation), "");
    }
    const bool scored = !Member(element, "ans").is_null() ||
                        !Member(element, "continuation").is_null() ||
                        Member(element, "prompt").is_array();
    return scored ? AddPrompt(element, name) : AddChat(element, name);
  }

  absl::Status AddPrompt(const json& element, const std::string& name) {
    auto prompt = ParseScoredPrompt(element);
    if (!prompt.ok()) return prompt.status();
    if (prompt->has_value()) return Keep(element, name, "prompts", **std::move(prompt), "");
    ++dataset_.skipped;
    return absl::OkStatus();
  }

  absl::Status AddChat(const json& element, const std::string& name) {
    auto chat = ParseChat(element);
    if (!chat.ok()) return chat.status();
    std::string pictures;
    for (ChatTurn& turn : chat->turns) {
      for (std::string& path : turn.images) {
        if (path.front() != '/') path = options_.folder + path;
        const auto digest = PictureDigest(path);
        if (!digest.ok()) return digest.status();
        absl::StrAppend(&pictures, *digest, "\n");
      }
    }
    auto where = TextOr(element, "image_turn", "with");
    if (!where.ok()) return where.status();
    if (*where != "with" && *where != "apart" && *where != "both") {
      return MustBe("image_turn", "\"with\", \"apart\" or \"both\"");
    }
    if (options_.image_turn == ImageTurn::kWith) where = "with";
    if (options_.image_turn == ImageTurn::kApart) where = "apart";
    if (options_.image_turn == ImageTurn::kBoth) where = "both";
    const bool apart = !pictures.empty() && *where != "with";
    if (!apart || *where == "both") {
      if (absl::Status status = Keep(element, name, "chats", *chat, pictures); !status.ok()) {
        return status;
      }
    }
    if (!apart) return absl::OkStatus();
    chat->images_apart = true;
    return Keep(element, name, "chats", *std::move(chat), "apart\n" + pictures);
  }

  template <typename Content>
  absl::Status Keep(const json& element, const std::string& name, const std::string& kind,
                    Content content, const std::string& more) {
    Record record{.name = name, .task = kind};
    if (element.is_object()) {
      auto task = TextOr(element, Member(element, "task").is_null() ? "kind" : "task", kind);
      if (!task.ok()) return task.status();
      record.task = *std::move(task);
    }
    const std::string text = element.dump(-1, ' ', false, json::error_handler_t::replace);
    record.digest = Sha256(absl::StrCat(kVersion, "\n", more, "\n", text));
    record.content = std::move(content);
    dataset_.records.push_back(std::move(record));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> PictureDigest(const std::string& path) {
    const auto known = pictures_.find(path);
    if (known != pictures_.end()) return known->second;
    const auto bytes = options_.read(path);
    if (!bytes.ok()) return bytes.status();
    return pictures_[path] = Sha256(*bytes);
  }

  const DatasetOptions& options_;
  Dataset dataset_;
  size_t taken_ = 0;                             // elements with records
  std::map<std::string, std::string> pictures_;  // digests by path
};

absl::Status AddLines(std::string_view text, const DatasetOptions& options, Parser& parser) {
  size_t number = 0;
  while (!text.empty() && !parser.full()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const json element = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (element.is_discarded()) return Wrong(options, number, "is no JSON");
    if (absl::Status status = parser.Add(element, number); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status AddList(const json& list, Parser& parser) {
  for (size_t i = 0; i < list.size() && !parser.full(); ++i) {
    if (absl::Status status = parser.Add(list[i], i); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Dataset> ParseDataset(std::string_view text, const DatasetOptions& options) {
  Parser parser(options);
  const json whole = json::parse(text, nullptr, /*allow_exceptions=*/false);
  // One line with a conversation's turns is a list as well.
  const bool lines = !whole.is_array() || IsTokenTurns(whole);
  const absl::Status status = lines ? AddLines(text, options, parser) : AddList(whole, parser);
  if (!status.ok()) return status;
  Dataset dataset = parser.Take();
  if (dataset.records.empty()) {
    return absl::InvalidArgumentError(options.name + ": has no record that can be measured");
  }
  return dataset;
}

}  // namespace concertina::eval
