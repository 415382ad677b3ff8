#include "models/weights/strict_json.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace concertina {
namespace {

// Writes the events down.
class Recorder final : public JsonVisitor {
 public:
  std::string events;
  std::string stop_at;  // an event that is answered with an error

  absl::Status OnObject(const Path& path) override { return Record("{", path); }
  absl::Status OnObjectEnd(const Path& path) override { return Record("}", path); }
  absl::Status OnArray(const Path& path) override { return Record("[", path); }
  absl::Status OnScalar(const Path& path, const Scalar& value) override {
    return Record(absl::StrCat(value.index(), "="), path);
  }

 private:
  absl::Status Record(const std::string& what, const Path& path) {
    const std::string event = absl::StrCat(what, absl::StrJoin(path, "."));
    absl::StrAppend(&events, event, " ");
    return event == stop_at ? absl::AbortedError("stopped") : absl::OkStatus();
  }
};

TEST(StrictJson, ReportsPathsAndTypes) {
  Recorder recorder;
  ASSERT_TRUE(ParseStrictJson(R"({"a":[1,-2,{"b":null}],"c":{"d":"s"},"e":1.5,"f":true})",
                              {.max_depth = 3}, recorder)
                  .ok());
  EXPECT_EQ(recorder.events, "{ [a 2=a 3=a {a 0=a.b }a {c 5=c.d }c 4=e 1=f } ");
}

TEST(StrictJson, TheVisitorCanStop) {
  Recorder recorder;
  recorder.stop_at = "2=a";
  EXPECT_EQ(ParseStrictJson(R"({"a":1,"b":2})", {.max_depth = 3}, recorder).code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(recorder.events, "{ 2=a ");
}

TEST(StrictJson, RefusesFaultyTexts) {
  const std::string faulty[] = {
      "",
      "{",
      R"({"a":1)",
      R"({"a":1}x)",
      R"({"a":1,})",
      R"({"a" 1})",
      R"({a:1})",
      R"({"a":1e999})",
      "{\"a\":\"\xff\"}",
      R"({"a":01})",
      R"("\ud800")",
      "nul",
      R"({"a":1,"a":2})",
      R"({"x":{"a":1,"a":2}})",
      "[[[[1]]]]",
      std::string(1'000'000, '['),
      R"({"a":)" + std::string(1'000'000, '['),
  };
  Recorder zero_byte;  // the library would take it for the end of the text
  EXPECT_FALSE(ParseStrictJson(std::string_view("{}\0junk", 7), {.max_depth = 3}, zero_byte).ok());
  for (const std::string& text : faulty) {
    Recorder recorder;
    EXPECT_EQ(ParseStrictJson(text, {.max_depth = 3}, recorder).code(),
              absl::StatusCode::kInvalidArgument)
        << text.substr(0, 40);
  }
}

TEST(StrictJson, SameKeyInDifferentObjectsIsFine) {
  Recorder recorder;
  EXPECT_TRUE(ParseStrictJson(R"({"a":{"a":1},"b":{"a":1}})", {.max_depth = 3}, recorder).ok());
}

TEST(StrictJson, LimitsTheNumberOfKeys) {
  Recorder recorder;
  const JsonLimits limits = {.max_depth = 3, .max_keys = 2};
  EXPECT_TRUE(ParseStrictJson(R"({"a":1,"b":2})", limits, recorder).ok());
  EXPECT_FALSE(ParseStrictJson(R"({"a":1,"b":2,"c":3})", limits, recorder).ok());
}

}  // namespace
}  // namespace concertina
