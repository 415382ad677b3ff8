// Every condition of the table of errors in docs/api.md, brought about over gRPC, with its details
// as a client reads them. A documented condition without a row here fails, and the other way round.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "client/errors.h"
#include "tests/campaigns/documented_errors.h"
#include "tests/campaigns/status_rows.h"

namespace concertina::testing {
namespace {

std::vector<StatusRow> AllRows() {
  std::vector<StatusRow> rows = RequestRows();
  for (auto more : {CapacityRows(), EndRows()}) rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

std::string NameOf(const StatusRow& row) {
  std::string name;
  for (const char c : row.condition) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
}

std::string CodeOf(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }

class StatusTable : public ::testing::TestWithParam<StatusRow> {};

TEST_P(StatusTable, IsAsDocumented) {
  const StatusRow& row = GetParam();
  const std::vector<Outcome> outcomes = row.provoke();
  ASSERT_FALSE(outcomes.empty());
  ASSERT_TRUE(row.fields.empty() || row.fields.size() == outcomes.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    SCOPED_TRACE(client::Describe(outcome.status));
    const client::ErrorDetails details = client::DetailsOf(outcome.status);
    EXPECT_EQ(CodeOf(outcome.status), row.code);
    EXPECT_EQ(details.reason, row.reason);
    EXPECT_EQ(details.field, row.fields.empty() ? "" : row.fields[i]);
    EXPECT_FALSE(outcome.status.message().empty());
    EXPECT_EQ(outcome.quota_subject, row.code == "RESOURCE_EXHAUSTED" ? row.reason : "");
    ASSERT_EQ(details.retry_after.has_value(), row.may_be_tried_again);
    if (!details.retry_after.has_value()) continue;
    EXPECT_GT(details.retry_after->count(), 0);
    EXPECT_EQ(outcome.pushback_ms, std::to_string(details.retry_after->count()));
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, StatusTable, ::testing::ValuesIn(AllRows()),
                         [](const auto& row) { return NameOf(row.param); });

TEST(StatusTableOfTheDocumentation, HasARowForEachConditionAndNoOther) {
  const auto documented = DocumentedErrors(ReadWholeFile(CONCERTINA_SOURCE_DIR "/docs/api.md"));
  ASSERT_TRUE(documented.ok()) << documented.status();
  std::vector<std::string> written, tested;
  for (const DocumentedError& error : *documented) {
    written.push_back(error.condition + " | " + error.code + " | " + error.reason);
  }
  for (const StatusRow& row : AllRows()) {
    tested.push_back(row.condition + " | " + row.code + " | " + row.reason);
  }
  EXPECT_THAT(tested, ::testing::UnorderedElementsAreArray(written));
}

TEST(StatusTableOfTheDocumentation, IsReadRowByRow) {
  const auto errors = DocumentedErrors(
      "# API\n\n## Errors\n\n| condition | code | reason |\n|---|---|---|\n"
      "| a bad field | INVALID_ARGUMENT | – (field) |\n"
      "| one; another | ABORTED | `ONE`; `ANOTHER` |\n\n## Limits\n\n| a | b | c |\n");
  ASSERT_TRUE(errors.ok()) << errors.status();
  const std::vector<DocumentedError> expected = {{"a bad field", "INVALID_ARGUMENT", ""},
                                                 {"one", "ABORTED", "ONE"},
                                                 {"another", "ABORTED", "ANOTHER"}};
  EXPECT_EQ(*errors, expected);
  EXPECT_FALSE(DocumentedErrors("# API\n").ok());
  EXPECT_FALSE(DocumentedErrors("\n## Errors\n\n| a | b |\n|-|-|\n| c | d |\n").ok());
}

}  // namespace
}  // namespace concertina::testing
