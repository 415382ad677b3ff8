// The bound of resident memory that the server prints, exports, and must keep.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr double kMiB = 1 << 20;

// The numbers that --print-memory prints.
std::map<std::string, double> PrintedPlan(std::vector<std::string> flags) {
  flags.insert(flags.begin(), CONCERTINA_SERVER);
  flags.emplace_back("--print-memory");
  const CommandResult result = RunCommand(flags);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  std::map<std::string, double> plan;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find(" = ");
    if (line.starts_with('#') || equals == std::string::npos) continue;
    plan[line.substr(0, equals)] = std::atof(line.c_str() + equals + 3);
  }
  return plan;
}

std::vector<std::string> Small() {
  std::vector<std::string> flags = TinyLlava();
  flags.insert(flags.end(),
               {"--max-transcript-bytes", "64MiB", "--max-session-transcript-bytes", "8MiB",
                "--max-request-bytes", "64MiB", "--image-store-bytes", "16MiB",
                "--max-image-pixels", "1048576", "--max-uploads", "4", "--max-calls", "256"});
  return flags;
}

TEST(MemoryPlanTest, TheTotalIsTheSumAndFollowsTheSettings) {
  auto plan = PrintedPlan(Small());
  const double total = plan["memory_bound_bytes"];
  double sum = 0;
  for (const auto& [name, bytes] : plan) sum += name == "memory_bound_bytes" ? 0 : bytes;
  EXPECT_EQ(sum, total);
  EXPECT_EQ(plan["pool_bytes"], 16 * kMiB);
  EXPECT_EQ(plan["transcripts_bytes"], 64 * kMiB);
  EXPECT_EQ(plan["image_store_bytes"], 16 * kMiB);
  auto flags = Small();
  flags.insert(flags.end(), {"--max-sessions", "2048"});
  auto larger = PrintedPlan(flags);
  EXPECT_EQ(larger["sessions_bytes"], 2 * plan["sessions_bytes"]);
  EXPECT_GT(larger["memory_bound_bytes"], total);
}

TEST(MemoryPlanTest, AServerAtWorkStaysWithinIt) {
  auto server = ServerProcess::Start(Small());
  ASSERT_TRUE(server.ok()) << server.status();
  const double bound = (*server)->Metric("memory_bound_bytes");
  EXPECT_EQ(bound, PrintedPlan(Small())["memory_bound_bytes"]);
  const auto client = (*server)->Connect();
  const std::string picture = ReadWholeFile(SceneImage(1));
  std::vector<client::Conversation> open;
  for (int i = 0; i < 40; ++i) {
    auto conversation = client->Open();
    ASSERT_TRUE(conversation.ok()) << conversation.status();
    client::AskOptions options;
    options.max_tokens = 16;
    const auto answer =
        conversation->Ask({client::ImageFile(picture), client::Text("What is it?")}, options);
    ASSERT_TRUE(answer.ok()) << answer.status();
    open.push_back(*std::move(conversation));
  }
  const double peak = (*server)->Metric("process_peak_resident_memory_bytes");
  std::printf("peak %.0f MiB of %.0f MiB\n", peak / kMiB, bound / kMiB);
  EXPECT_GT(peak, 50 * kMiB);
  EXPECT_LE(peak, bound);
}

TEST(MemoryPlanTest, AModelThatIsNotThereIsOneLine) {
  const CommandResult result =
      RunCommand({CONCERTINA_SERVER, "--model", "/nonexistent.gguf", "--print-memory"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.errors.find("/nonexistent.gguf"), std::string::npos) << result.errors;
}

}  // namespace
}  // namespace concertina::testing
