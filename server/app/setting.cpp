#include "server/app/setting.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/app/units.h"

namespace concertina {
namespace {

constexpr char kNone[] = "none";

std::optional<int64_t> WholeNumber(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Setting Base(SettingText text, std::string type) {
  Setting setting;
  setting.name = std::move(text.name);
  setting.group = std::move(text.group);
  setting.help = std::move(text.help);
  setting.type = std::move(type);
  return setting;
}

absl::Status Wrong(const std::string& text, std::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not ", std::string(wanted)));
}

template <typename T>
Setting AnyNumber(SettingText text, int64_t least, int64_t most, Field<T> field) {
  Setting setting = Base(std::move(text), absl::StrCat(least, "..", most));
  setting.number = true;
  setting.set = [least, most, field](const std::string& value, ConfigDraft& draft) {
    const auto number = WholeNumber(value);
    if (!number.has_value() || *number < least || *number > most) {
      return Wrong(value, absl::StrCat("a whole number from ", least, " to ", most));
    }
    field(draft) = static_cast<T>(*number);
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) { return absl::StrCat(field(draft)); };
  return setting;
}

}  // namespace

Setting TextSetting(SettingText text, std::string type, Field<std::string> field) {
  Setting setting = Base(std::move(text), std::move(type));
  setting.set = [field](const std::string& value, ConfigDraft& draft) {
    field(draft) = value;
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) { return field(draft); };
  return setting;
}

Setting NumberSetting(SettingText text, int64_t least, int64_t most, Field<int32_t> field) {
  return AnyNumber<int32_t>(std::move(text), least, most, std::move(field));
}

Setting Number64Setting(SettingText text, int64_t least, int64_t most, Field<int64_t> field) {
  return AnyNumber<int64_t>(std::move(text), least, most, std::move(field));
}

Setting SizeSetting(SettingText text, int64_t least, int64_t most, Field<int64_t> field) {
  Setting setting = Base(std::move(text), "SIZE");
  setting.set = [least, most, field](const std::string& value, ConfigDraft& draft) {
    const auto bytes = ParseBytes(value);
    if (!bytes.ok() || *bytes < least || *bytes > most) {
      return Wrong(value, absl::StrCat("a size from ", FormatBytes(least), " to ",
                                       FormatBytes(most), " (for example 512MiB)"));
    }
    field(draft) = *bytes;
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) { return FormatBytes(field(draft)); };
  return setting;
}

Setting DurationSetting(SettingText text, std::chrono::milliseconds least,
                        std::chrono::milliseconds most, bool zero,
                        Field<std::chrono::milliseconds> field) {
  Setting setting = Base(std::move(text), "TIME");
  setting.set = [least, most, zero, field](const std::string& value, ConfigDraft& draft) {
    const auto time = ParseDuration(value);
    const bool in_range = time.ok() && *time >= least && *time <= most;
    if (!in_range && !(zero && time.ok() && time->count() == 0)) {
      return Wrong(
          value,
          absl::StrCat("a time from ", FormatDuration(least), " to ", FormatDuration(most),
                       zero && least.count() > 0 ? ", or 0" : "", " (for example 500ms, 30s, 5m)"));
    }
    field(draft) = *time;
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) { return FormatDuration(field(draft)); };
  return setting;
}

Setting AddressSetting(SettingText text, bool optional, Field<std::string> field) {
  Setting setting = Base(std::move(text), optional ? "HOST:PORT|none" : "HOST:PORT");
  setting.set = [optional, field](const std::string& value, ConfigDraft& draft) {
    if (optional && value == kNone) {
      field(draft).clear();
      return absl::OkStatus();
    }
    if (const auto address = ParseAddress(value); !address.ok()) {
      return Wrong(value, optional ? "host:port or none" : "host:port");
    }
    field(draft) = value;
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) {
    const std::string& address = field(draft);
    return address.empty() ? std::string(kNone) : address;
  };
  return setting;
}

Setting ChoiceSetting(SettingText text, std::vector<std::string> choices,
                      Field<std::string> field) {
  Setting setting = Base(std::move(text), absl::StrJoin(choices, "|"));
  setting.set = [choices, field](const std::string& value, ConfigDraft& draft) {
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      return Wrong(value, absl::StrCat("one of ", absl::StrJoin(choices, ", ")));
    }
    field(draft) = value;
    return absl::OkStatus();
  };
  setting.get = [field](ConfigDraft& draft) { return field(draft); };
  return setting;
}

absl::StatusOr<HostPort> ParseAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  const absl::Status wrong = absl::InvalidArgumentError("not host:port");
  if (colon == std::string_view::npos || colon == 0) return wrong;
  const std::string_view host = text.substr(0, colon);
  // Without brackets an IPv6 address cannot be told from its port.
  if (host.find(':') != std::string_view::npos && (host.front() != '[' || host.back() != ']')) {
    return wrong;
  }
  const auto port = WholeNumber(text.substr(colon + 1));
  if (!port.has_value() || *port < 0 || *port > 65535) return wrong;
  return HostPort{std::string(host), static_cast<int>(*port)};
}

}  // namespace concertina
