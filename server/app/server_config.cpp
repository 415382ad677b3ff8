#include "server/app/server_config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <map>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "models/tuning/weight_types.h"
#include "server/app/config_checks.h"
#include "server/app/config_file.h"
#include "server/app/settings.h"

namespace concertina {
namespace {

constexpr char kPrefix[] = "CONCERTINA_";
constexpr char kConfig[] = "config";
constexpr int kUsageError = 2;
// Read by our scripts and tests, which may start a server.
constexpr std::array<const char*, 8> kOtherVariables = {
    "FULL", "SEED", "TARGET", "SERVER", "CLI", "TORCH_DIR", "TORCH_INDEX", "SKIP_PACKAGES"};

// What was given on the command line, before anything is looked at.
struct CommandLine {
  std::map<std::string, std::string> values;
  std::string config_path;
  bool print_config = false;
  bool print_memory = false;
};

// "pool-bytes" is CONCERTINA_POOL_BYTES.
std::string EnvironmentName(const std::string& name) {
  std::string variable = kPrefix;
  for (const char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

// An empty variable counts as none.
std::string Environment(const std::string& name) {
  const char* const value = std::getenv(EnvironmentName(name).c_str());
  return value == nullptr ? "" : value;
}

void AddOptions(CLI::App& app, CommandLine& line) {
  ConfigDraft defaults;
  for (const Setting& setting : Settings()) {
    app.add_option_function<std::string>(
           "--" + setting.name,
           [&line, name = setting.name](const std::string& text) { line.values[name] = text; },
           setting.help)
        ->group(setting.group)
        ->type_name(setting.type)
        ->default_str(setting.get(defaults));
  }
  app.add_option("--config", line.config_path, "TOML file of settings")
      ->group("Process")
      ->type_name("PATH");
  app.add_flag("--print-config", line.print_config, "Print the effective settings as TOML and end")
      ->group("Process");
  app.add_flag("--print-memory", line.print_memory,
               "Load the model, print the upper bound of resident memory and end")
      ->group("Process");
  app.footer(
      "Every setting can also be given in the environment (--pool-bytes as CONCERTINA_POOL_BYTES)\n"
      "and in the file (pool-bytes = \"2GiB\"). A flag counts before the environment, the\n"
      "environment before the file. SIZE: 64KiB, 512MiB, 2GiB. TIME: 500ms, 30s, 5m, 2h; a number\n"
      "alone is seconds.");
}

absl::Status Set(const Setting& setting, const std::string& text, const std::string& origin,
                 ConfigDraft& draft) {
  const absl::Status status = setting.set(text, draft);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(origin, ": ", std::string(status.message())));
}

absl::Status ReadFile(const std::string& path, ConfigDraft& draft) {
  const auto values = ReadConfigFile(path);
  if (!values.ok()) return values.status();
  for (const FileValue& value : *values) {
    const std::string origin = absl::StrCat(path, ":", value.line, ": ", value.key);
    const auto setting = std::find_if(Settings().begin(), Settings().end(),
                                      [&](const Setting& s) { return s.name == value.key; });
    if (setting == Settings().end()) {
      return absl::InvalidArgumentError(origin + ": there is no such setting");
    }
    if (absl::Status status = Set(*setting, value.text, origin, draft); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Read(const CommandLine& line, ConfigDraft& draft) {
  const std::string path = line.config_path.empty() ? Environment(kConfig) : line.config_path;
  if (!path.empty()) {
    if (absl::Status status = ReadFile(path, draft); !status.ok()) return status;
  }
  for (const Setting& setting : Settings()) {
    const std::string text = Environment(setting.name);
    if (text.empty()) continue;
    const absl::Status status = Set(setting, text, EnvironmentName(setting.name), draft);
    if (!status.ok()) return status;
  }
  for (const Setting& setting : Settings()) {
    const auto given = line.values.find(setting.name);
    if (given == line.values.end()) continue;
    const absl::Status status = Set(setting, given->second, "--" + setting.name, draft);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

WeightSettings ResolveWeights(const ConfigDraft& draft) {
  WeightSettings settings = WeightSettings::Auto();
  settings.few = MatrixTypeByName(draft.weights);
  settings.many =
      draft.weights_prefill == "same" ? settings.few : MatrixTypeByName(draft.weights_prefill);
  settings.vision = MatrixTypeByName(draft.weights_vision);
  // Beside a device the CPU's own types count: the model's loader chooses.
  const bool on_host = draft.config.device == kHostDevice;
  if (!settings.vision.has_value() && on_host) settings.vision = settings.few;
  settings.measure_all = true;
  return settings;
}

EntryType EntryTypeOf(const std::string& name) {
  if (name == "f32") return EntryType::kF32;
  if (name == "packed") return EntryType::kPacked;
  return name == "int8" ? EntryType::kInt8 : EntryType::kBf16;
}

// Replaces what is left to the machine by what it comes to, so that the draft can be printed.
void Resolve(ConfigDraft& draft) {
  ServerConfig& config = draft.config;
  const bool bundled = draft.model.empty() || draft.model == CONCERTINA_BUNDLED_MODEL;
  if (bundled) draft.model = CONCERTINA_BUNDLED_MODEL;
  if (draft.vision.empty()) draft.vision = bundled ? CONCERTINA_BUNDLED_VISION : "none";
  config.model = draft.model;
  config.vision = draft.vision == "none" ? "" : draft.vision;
  if (config.device != kHostDevice && draft.weights == "auto") draft.weights = "bf16";
  if (draft.kv == "auto") draft.kv = draft.weights == "f32" ? "f32" : "bf16";
  config.weights = ResolveWeights(draft);
  config.engine.default_entry_type = EntryTypeOf(draft.kv);
  if (config.engine.threads == 0) {
    config.engine.threads = static_cast<int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  }
  config.log_format = draft.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
}

std::string PrintConfig(ConfigDraft& draft) {
  std::string toml;
  const std::string* group = nullptr;
  for (const Setting& setting : Settings()) {
    if (group == nullptr || *group != setting.group) {
      absl::StrAppend(&toml, group == nullptr ? "" : "\n", "# ", setting.group, "\n");
      group = &setting.group;
    }
    const std::string text = setting.get(draft);
    absl::StrAppend(&toml, setting.name, " = ", setting.number ? text : TomlString(text), "\n");
  }
  return toml;
}

// Variables that look like ours but are not: most likely a typing error.
std::vector<std::string> UnknownVariables() {
  std::vector<std::string> unknown;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with(kPrefix) || name == EnvironmentName(kConfig)) continue;
    const bool known =
        std::any_of(Settings().begin(), Settings().end(),
                    [&](const Setting& s) { return EnvironmentName(s.name) == name; }) ||
        std::any_of(kOtherVariables.begin(), kOtherVariables.end(),
                    [&](const char* other) { return name == std::string(kPrefix) + other; });
    if (!known) unknown.push_back("the environment variable " + name + " matches no setting");
  }
  std::sort(unknown.begin(), unknown.end());
  return unknown;
}

void Fail(const std::string& message, ParsedArguments& parsed) {
  parsed.exit_code = kUsageError;
  parsed.message = message + "\nRun with --help for more information.\n";
}

void Interpret(const CommandLine& line, ParsedArguments& parsed) {
  ConfigDraft draft;
  draft.config.engine.threads = 0;
  absl::Status status = Read(line, draft);
  if (status.ok()) {
    Resolve(draft);
    status = CheckConfig(draft.config);
  }
  if (!status.ok()) return Fail(std::string(status.message()), parsed);
  parsed.print_memory = line.print_memory;
  parsed.warnings = UnknownVariables();
  for (std::string& warning : ConfigWarnings(draft.config)) {
    parsed.warnings.push_back(std::move(warning));
  }
  if (line.print_config) {
    parsed.exit_code = 0;
    parsed.message = PrintConfig(draft);
  }
  parsed.config = std::move(draft.config);
}

}  // namespace

ParsedArguments ParseArguments(int argc, const char* const* argv) {
  ParsedArguments parsed;
  CommandLine line;
  CLI::App app(
      "Serves a vision-language model over gRPC; every conversation owns an elastic KV cache.",
      "concertina-server");
  app.set_version_flag("--version", CONCERTINA_VERSION);
  try {
    AddOptions(app, line);
    app.parse(argc, argv);
    Interpret(line, parsed);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    parsed.exit_code = app.exit(error, out, err) == 0 ? 0 : kUsageError;
    parsed.message = out.str() + err.str();
  }
  return parsed;
}

}  // namespace concertina
