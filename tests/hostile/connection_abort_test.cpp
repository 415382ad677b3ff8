// Clients that connect and vanish, at every stage, and more of them than there are file
// descriptors: the server goes on, and holds no descriptor of theirs.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdio>

#include "tests/hostile/campaign.h"
#include "tests/hostile/http2_client.h"
#include "tests/hostile/neighbour.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;

constexpr rlim_t kFiles = 256;
constexpr milliseconds kServing{2000};

// Lets children open this many files only, for as long as it lives.
class FileLimit {
 public:
  explicit FileLimit(rlim_t files) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit limit{files, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~FileLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

// The stages at which a client vanishes.
std::string Beginning(int stage) {
  const std::string greeting = Preface() + Settings();
  const std::string call = WholeCall(1, "GetModel", "");
  switch (stage % 6) {
    case 0:
      return "";
    case 1:
      return greeting.substr(0, 10);
    case 2:
      return greeting;
    case 3:
      return greeting + call.substr(0, 40);
    case 4:
      return greeting + Frame(kHeadersFrame, kEndHeaders, 1, CallHeaders("UploadImage"));
    default:
      return greeting + call;
  }
}

// Descriptors once they are no more than `expected`, or after 20 seconds.
int FilesOnce(pid_t pid, int expected) {
  int files = OpenFiles(pid);
  for (int i = 0; i < 2000 && files > expected; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    files = OpenFiles(pid);
  }
  return files;
}

class ConnectionAbort : public ::testing::Test {
 protected:
  void SetUp() override {
    const FileLimit limit(kFiles);
    auto started = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    pid_ = server_->process().pid();
    ASSERT_LE(TimeToServe(*server_), kServing);
    std::this_thread::sleep_for(milliseconds(300));
    files_ = OpenFiles(pid_);
  }

  std::unique_ptr<ServerProcess> server_;
  pid_t pid_ = 0;
  int files_ = 0;
};

TEST_F(ConnectionAbort, LeavesNoDescriptor) {
  const int count = FullCampaign() ? 20'000 : 3'000;
  int connected = 0;
  for (int i = 0; i < count; ++i) {
    RawConnection connection(server_->target());
    if (!connection.ok()) continue;
    ++connected;
    connection.Send(Beginning(i));
    if (i % 2 == 0) connection.Abort();
  }
  const milliseconds serving = TimeToServe(*server_);
  const int files = FilesOnce(pid_, files_);
  std::printf("%d connections, %d made; serving after %lld ms; descriptors %d -> %d\n", count,
              connected, static_cast<long long>(serving.count()), files_, files);
  EXPECT_LE(serving, kServing);
  EXPECT_LE(files, files_);
  EXPECT_GT(connected, count / 2);
}

TEST_F(ConnectionAbort, MoreThanThereAreDescriptors) {
  std::vector<std::unique_ptr<RawConnection>> held;
  for (int i = 0; i < 400; ++i) {
    held.push_back(std::make_unique<RawConnection>(server_->target()));
    if (held.back()->ok()) held.back()->Send(Preface() + Settings());
  }
  const auto refused = [&] {
    return server_->Metric("requests_rejected_total", "CONNECTIONS_FULL") > 0;
  };
  for (int i = 0; i < 2000 && !refused(); ++i) std::this_thread::sleep_for(milliseconds(10));
  const int most = OpenFiles(pid_);
  EXPECT_LT(most, static_cast<int>(kFiles));  // some are left for the server itself
  EXPECT_TRUE(refused());
  held.clear();
  const milliseconds serving = TimeToServe(*server_);
  const int files = FilesOnce(pid_, files_);
  std::printf("400 held: %d descriptors; serving %lld ms after they left; descriptors %d -> %d\n",
              most, static_cast<long long>(serving.count()), files_, files);
  EXPECT_LE(serving, kServing);
  EXPECT_LE(files, files_);
}

}  // namespace
}  // namespace concertina::testing
