#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/app/server_config.h"

namespace concertina {

// A configuration on its way: what is still to be chosen by the machine or the model, as text.
struct ConfigDraft {
  ServerConfig config;
  std::string model;   // empty: the bundled one
  std::string vision;  // empty: the bundled one with the bundled model, else none
  std::string weights = "auto";
  std::string weights_prefill = "same";
  std::string weights_vision = "auto";
  std::string kv = "auto";
  std::string log_format = "text";
};

// One thing an operator chooses: --NAME on the command line, CONCERTINA_NAME in the environment,
// NAME in the file.
struct Setting {
  std::string name;   // "pool-bytes"
  std::string group;  // "Cache"
  std::string type;   // what a value looks like, for --help: "SIZE", "1..4096"
  std::string help;
  bool number = false;  // a bare integer in TOML, else a string
  // INVALID_ARGUMENT with a text that goes after the name. Nothing is changed then.
  std::function<absl::Status(const std::string& text, ConfigDraft& draft)> set;
  std::function<std::string(ConfigDraft& draft)> get;
};

// Settings of the usual kinds. `field` gives the place of the value in a draft.
template <typename T>
using Field = std::function<T&(ConfigDraft&)>;

struct SettingText {
  std::string name;
  std::string group;
  std::string help;
};

Setting TextSetting(SettingText text, std::string type, Field<std::string> field);
// A whole number from `least` to `most`.
Setting NumberSetting(SettingText text, int64_t least, int64_t most, Field<int32_t> field);
Setting Number64Setting(SettingText text, int64_t least, int64_t most, Field<int64_t> field);
Setting SizeSetting(SettingText text, int64_t least, int64_t most, Field<int64_t> field);
// With `zero`, 0 is allowed besides `least` to `most`.
Setting DurationSetting(SettingText text, std::chrono::milliseconds least,
                        std::chrono::milliseconds most, bool zero,
                        Field<std::chrono::milliseconds> field);
// host:port; with `optional`, "none" is stored as an empty text.
Setting AddressSetting(SettingText text, bool optional, Field<std::string> field);
Setting ChoiceSetting(SettingText text, std::vector<std::string> choices, Field<std::string> field);

// "127.0.0.1:50051", "[::]:0". Empty host: not an address.
struct HostPort {
  std::string host;
  int port = 0;
};
absl::StatusOr<HostPort> ParseAddress(std::string_view text);

}  // namespace concertina
