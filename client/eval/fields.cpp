#include "client/eval/fields.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace concertina::eval {
namespace {

using nlohmann::json;

std::optional<int32_t> AsTokenId(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  const auto id = value.get<int64_t>();
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int32_t>(id);
}

}  // namespace

absl::Status MustBe(const std::string& name, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(name, " must be ", what));
}

const json& Member(const json& object, const std::string& name) {
  static const json kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

absl::StatusOr<std::string> TextOr(const json& object, const std::string& name,
                                   const std::string& otherwise) {
  const json& value = Member(object, name);
  if (value.is_null()) return otherwise;
  if (!value.is_string()) return MustBe(name, "a string");
  return value.get<std::string>();
}

absl::StatusOr<bool> FlagOr(const json& object, const std::string& name, bool otherwise) {
  const json& value = Member(object, name);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return MustBe(name, "true or false");
  return value.get<bool>();
}

absl::StatusOr<std::optional<double>> OptionalNumber(const json& object, const std::string& name) {
  const json& value = Member(object, name);
  if (value.is_null()) return std::optional<double>();
  if (!value.is_number()) return MustBe(name, "a number");
  return std::optional<double>(value.get<double>());
}

absl::StatusOr<std::optional<std::string>> OptionalText(const json& object,
                                                        const std::string& name) {
  if (Member(object, name).is_null()) return std::optional<std::string>();
  auto text = TextOr(object, name, "");
  if (!text.ok()) return text.status();
  return std::optional<std::string>(*std::move(text));
}

absl::StatusOr<std::vector<std::string>> Texts(const json& object, const std::string& name) {
  const json& value = Member(object, name);
  std::vector<std::string> texts;
  if (value.is_null()) return texts;
  const json list = value.is_array() ? value : json::array({value});
  for (const json& text : list) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      return MustBe(name, "a string or a list of strings, none of them empty");
    }
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

absl::StatusOr<int32_t> TokenId(const json& object, const std::string& name) {
  const auto id = AsTokenId(Member(object, name));
  if (!id.has_value()) return MustBe(name, "a token id");
  return *id;
}

absl::StatusOr<std::vector<int32_t>> TokenIds(const json& object, const std::string& name) {
  const json& list = Member(object, name);
  std::vector<int32_t> ids;
  if (list.is_null()) return ids;
  if (!list.is_array()) return MustBe(name, "a list of token ids");
  for (const json& value : list) {
    const auto id = AsTokenId(value);
    if (!id.has_value()) return MustBe(name, "a list of token ids");
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace concertina::eval
