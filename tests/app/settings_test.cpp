// Every setting with a good value, one too small, one too large and one that is no value at all.
#include "server/app/settings.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace concertina {
namespace {

struct Values {
  std::string good;
  std::vector<std::string> bad;
};

// Kinds share what is wrong for all of them.
Values Number(const std::string& good, const std::string& too_small, const std::string& too_large) {
  return {good, {too_small, too_large, "-1", "x", "1.5", "1e3", "0x10", "99999999999999999999"}};
}
Values Size(const std::string& good, const std::string& too_small, const std::string& too_large) {
  return {good, {too_small, too_large, "0", "-1", "x", "1.5GiB", "1GB", "9999999999GiB"}};
}
Values Time(const std::string& good, const std::string& too_small, const std::string& too_large) {
  return {good, {too_small, too_large, "-1", "x", "nan", "1d", "1e300"}};
}
Values Choice(const std::string& good) { return {good, {"x", good + " ", "AUTO"}}; }
Values Address() {
  return {"[::1]:443", {"", "x", ":1", "h:", "h:x", "h:65536", "h:-1", "::1:443", "1"}};
}

const std::map<std::string, Values>& Table() {
  static const std::map<std::string, Values> kTable = {
      {"model", {"/a b", {}}},
      {"vision", {"none", {}}},
      {"model-name", {"n", {}}},
      {"chat-family", {"llava-1.5", {}}},
      {"device", {"cuda:7", {"x", "gpu", "cuda:", "cuda:-1", "cuda:x", "torch", "CPU", ""}}},
      {"weights", Choice("f32")},
      {"weights-prefill", Choice("bf16")},
      {"weights-vision", Choice("int8")},
      {"threads", Number("3", "-2", "1025")},
      {"pool-bytes", Size("64KiB", "63KiB", "65537GiB")},
      {"kv", Choice("f32")},
      {"policy", Choice("elastic")},
      {"budget", {"0.5", {"0", "1.1", "-0.1", "nan", "x", "0t", "0MiB", ""}}},
      {"image-budget", Number("0.25", "-0.1", "1.5")},
      {"probe-tokens", Number("64", "-1", "65")},
      {"max-batch", Number("1", "0", "4097")},
      {"max-queued-turns", Number("65536", "0", "65537")},
      {"queue-timeout", Time("100ms", "99ms", "25h")},
      {"max-tokens", Number("16", "0", "1048577")},
      {"max-tokens-limit", Number("1048576", "0", "1048577")},
      {"prefill-share", {"0.5", {"0", "-1", "0.04", "20.1", "nan", "x", ""}}},
      {"prefill-step", Time("0", "-1ms", "11s")},
      {"prefill-slice", Number("64", "15", "8193")},
      {"max-sessions", Number("1048576", "0", "1048577")},
      {"idle-timeout", Time("0", "99ms", "8761h")},
      {"max-session-transcript-bytes", Size("1KiB", "1023", "1025GiB")},
      {"max-transcript-bytes", Size("65536GiB", "1023", "65537GiB")},
      {"max-calls", Number("1", "0", "1048577")},
      {"max-calls-per-connection", Number("1", "0", "1048577")},
      {"max-request-bytes", Size("32MiB", "31MiB", "1025GiB")},
      {"max-uploads", Number("1", "0", "65537")},
      {"stall-timeout", Time("100ms", "0", "2h")},
      {"max-decoders", Number("256", "0", "257")},
      {"image-store-bytes", Size("64MiB", "63KiB", "1025GiB")},
      {"max-image-bytes", Size("1KiB", "1023", "65MiB")},
      {"max-image-pixels", Number("4", "3", "268435457")},
      {"max-image-side", Number("65535", "1", "65536")},
      {"listen", Address()},
      {"admin-listen", Address()},
      {"metrics-listen", Address()},
      {"port-file", {"/p", {}}},
      {"grace-period", Time("1.5", "-1s", "25h")},
      {"log-format", Choice("json")},
      {"log-level", Choice("debug")},
  };
  return kTable;
}

ParsedArguments Parse(const std::string& name, const std::string& value) {
  const std::string flag = "--" + name + "=" + value;
  const std::vector<const char*> arguments = {"concertina-server", flag.c_str()};
  return ParseArguments(static_cast<int>(arguments.size()), arguments.data());
}

TEST(SettingsTest, TheTableIsComplete) {
  std::set<std::string> names;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    EXPECT_TRUE(Table().contains(setting.name)) << setting.name << " has no row here";
  }
  EXPECT_EQ(names.size(), Table().size());
}

TEST(SettingsTest, GoodValuesAreTakenAndComeBack) {
  for (const Setting& setting : Settings()) {
    const std::string& good = Table().at(setting.name).good;
    const ParsedArguments parsed = Parse(setting.name, good);
    EXPECT_FALSE(parsed.exit_code.has_value()) << setting.name << " " << parsed.message;
    ConfigDraft draft;
    ASSERT_TRUE(setting.set(good, draft).ok()) << setting.name;
    const std::string text = setting.get(draft);
    ConfigDraft again;
    ASSERT_TRUE(setting.set(text, again).ok()) << setting.name << " " << text;
    EXPECT_EQ(setting.get(again), text);
  }
}

TEST(SettingsTest, BadValuesAreRefusedByName) {
  for (const Setting& setting : Settings()) {
    for (const std::string& bad : Table().at(setting.name).bad) {
      const std::string what = setting.name + "=" + bad;
      ConfigDraft draft;
      const std::string before = setting.get(draft);
      EXPECT_FALSE(setting.set(bad, draft).ok()) << what;
      EXPECT_EQ(setting.get(draft), before) << what;
      const ParsedArguments parsed = Parse(setting.name, bad);
      if (bad.empty()) continue;  // CLI11 has a text of its own for "--name="
      EXPECT_EQ(parsed.exit_code, 2) << what;
      EXPECT_TRUE(parsed.message.starts_with("--" + setting.name + ": ")) << parsed.message;
    }
  }
}

TEST(SettingsTest, HelpListsEachWithItsDefault) {
  const std::vector<const char*> arguments = {"concertina-server", "--help"};
  const ParsedArguments parsed = ParseArguments(2, arguments.data());
  ASSERT_EQ(parsed.exit_code, 0);
  ConfigDraft defaults;
  for (const Setting& setting : Settings()) {
    std::string start = "  --" + setting.name + " " + setting.type;
    if (const std::string text = setting.get(defaults); !text.empty()) start += "=" + text;
    EXPECT_NE(parsed.message.find(start), std::string::npos) << start << "\n" << parsed.message;
  }
}

}  // namespace
}  // namespace concertina
