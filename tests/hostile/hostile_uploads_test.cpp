// A sample of the hostile pictures over the API, both ways in: refused by field with a text that
// tells nothing of the server, or taken.
#include <gtest/gtest.h>

#include <cstdio>

#include "client/errors.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/hostile_picture.h"
#include "tests/hostile/neighbour.h"

namespace concertina::testing {
namespace {

constexpr int64_t kMemoryLimit = int64_t{4} << 20;

// The status is a refusal that names the field and no internals, or there is none.
void ExpectClean(const absl::Status& status, const std::string& field, const std::string& what) {
  if (status.ok()) return;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what << status;
  EXPECT_EQ(client::DetailsOf(status).field, field) << what;
  for (const char* forbidden : {"/", "0x", "OpenCV", "cv::", ".cpp", "lib"}) {
    EXPECT_EQ(status.message().find(forbidden), std::string::npos) << what << status;
  }
}

class HostileUploads : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    client_ = server_->Connect();
  }

  // Both ways in. Whether the picture was taken.
  bool Send(const HostilePicture& picture) {
    const std::string file(picture.bytes.begin(), picture.bytes.end());
    auto conversation = client_->Open();
    EXPECT_TRUE(conversation.ok()) << conversation.status();
    client::AskOptions options;
    options.max_tokens = 1;
    const absl::Status said =
        conversation->Ask({client::Text("?"), client::ImageFile(file)}, options).status();
    EXPECT_TRUE(conversation->Close().ok());
    // The client cuts uploads into pieces; an empty file has none.
    const absl::Status uploaded = client_->UploadImage(file).status();
    if (file.size() < (8 << 20)) {
      ExpectClean(said, "parts[1].image.data", picture.name);
      EXPECT_EQ(said.code(), uploaded.code()) << picture.name << uploaded;
    }
    ExpectClean(uploaded, "chunk", picture.name);
    const bool refused =
        picture.verdict == Verdict::kRefusedUnseen || picture.verdict == Verdict::kRefused;
    EXPECT_TRUE(!refused || (!said.ok() && !uploaded.ok())) << picture.name;
    return said.ok();
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
};

TEST_F(HostileUploads, AreRefusedByField) {
  const std::vector<HostilePicture> pictures = HostilePictures(CampaignSeed());
  const size_t step = FullCampaign() ? 1 : 4;
  int taken = 0;
  int sent = 0;
  const pid_t pid = server_->process().pid();
  // What refused pictures leave; those that are taken are stored.
  for (const HostilePicture& picture : pictures) {
    if (picture.verdict == Verdict::kSameAsOriginal) taken += Send(picture) ? 1 : 0;
  }
  const auto send_refused = [&] {
    for (size_t i = 0; i < pictures.size(); i += step) {
      if (pictures[i].verdict != Verdict::kRefusedUnseen) continue;
      Send(pictures[i]);
      ++sent;
    }
  };
  // The allocator keeps what the largest files took: the second time shows what is lost.
  send_refused();
  const int64_t before = ProcessMemory(pid, "VmRSS");
  send_refused();
  const int64_t after = ProcessMemory(pid, "VmRSS");
  for (size_t i = 0; i < pictures.size(); i += step) {
    if (pictures[i].verdict != Verdict::kRefusedUnseen) taken += Send(pictures[i]) ? 1 : 0;
  }
  std::printf(
      "%d pictures refused by their header, %d of the others taken; resident %.1f -> %.1f "
      "MiB\n",
      sent, taken, static_cast<double>(before) / (1 << 20), static_cast<double>(after) / (1 << 20));
  EXPECT_GT(sent, 50);
  EXPECT_GT(taken, 5);
  EXPECT_LE(after - before, kMemoryLimit);
  EXPECT_LE(TimeToServe(*server_), std::chrono::milliseconds(2000));
}

}  // namespace
}  // namespace concertina::testing
