// Pictures strangers may send: refused with a clean text, before decoding where the header says
// enough, or harmless. Nothing of them stays in memory.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "models/image/decode.h"
#include "models/image/probe.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/hostile_picture.h"
#include "tests/models/image/clean_refusal.h"

namespace concertina::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kProbeLimit{5};
constexpr std::chrono::seconds kDecodeLimit{3};
constexpr int64_t kMemoryLimit = 4 << 20;
constexpr int64_t kQuarantine = 16 << 20;  // of the sanitizer, and what it splits up

struct Figures {
  int refused_unseen = 0;
  int refused = 0;
  int accepted = 0;
  Clock::duration slowest_probe{};
  Clock::duration slowest_decode{};
};

// Best of three: one look may be interrupted by other work of the machine.
Clock::duration ProbeTime(const HostilePicture& picture) {
  auto best = Clock::duration::max();
  for (int i = 0; i < 3; ++i) {
    const auto start = Clock::now();
    static_cast<void>(ProbeImage(picture.bytes, ImageLimits()));
    best = std::min(best, Clock::now() - start);
  }
  return best;
}

void Judge(const HostilePicture& picture, Figures& figures) {
  const auto probe = ProbeImage(picture.bytes, ImageLimits());
  const auto start = Clock::now();
  const auto image = DecodeImage(picture.bytes, ImageLimits());
  figures.slowest_decode = std::max(figures.slowest_decode, Clock::now() - start);
  if (!probe.ok()) {
    ++figures.refused_unseen;
    ExpectCleanRefusal(probe.status(), picture.name);
    EXPECT_EQ(image.status(), probe.status()) << picture.name;
    const Clock::duration time = ProbeTime(picture);
    figures.slowest_probe = std::max(figures.slowest_probe, time);
    if (!UnderSanitizer()) {
      EXPECT_LE(time, kProbeLimit) << picture.name;
    }
  } else if (!image.ok()) {
    ++figures.refused;
    ExpectCleanRefusal(image.status(), picture.name);
  } else {
    ++figures.accepted;
    // The sides may have been swapped by the orientation.
    EXPECT_EQ(int64_t{image->width} * image->height, int64_t{probe->width} * probe->height);
  }
  const Verdict verdict = picture.verdict;
  EXPECT_TRUE(verdict != Verdict::kRefusedUnseen || !probe.ok()) << picture.name;
  EXPECT_TRUE(verdict != Verdict::kRefused || !image.ok()) << picture.name;
  if (verdict == Verdict::kSameAsOriginal) {
    ASSERT_TRUE(image.ok()) << picture.name << ": " << image.status();
    EXPECT_EQ(image->pixels, DecodeImage(picture.original, ImageLimits())->pixels) << picture.name;
  }
}

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

TEST(HostileImages, AreRefusedOrHarmlessAndLeaveNothing) {
  const std::vector<HostilePicture> pictures = HostilePictures(CampaignSeed());
  ASSERT_GE(pictures.size(), 200u);
  ConfigureOpenCv(ImageLimits());
  // Once for what decoders allocate on first use; sanitizers have to fill their quarantine.
  for (const std::string& name : DataImages()) DecodeFile(DataPath(name));
  if (UnderSanitizer()) {
    Figures warm_up;
    for (const HostilePicture& picture : pictures) Judge(picture, warm_up);
  }
  const int64_t before = ResidentBytes();
  Figures figures;
  for (const HostilePicture& picture : pictures) Judge(picture, figures);
  const int64_t after = ResidentBytes();
  std::printf(
      "%zu pictures: %d refused by their header in at most %.3f ms, %d by the decoder, %d "
      "harmless; "
      "slowest decode %.0f ms; resident %.1f -> %.1f MiB\n",
      pictures.size(), figures.refused_unseen, Milliseconds(figures.slowest_probe), figures.refused,
      figures.accepted, Milliseconds(figures.slowest_decode),
      static_cast<double>(before) / (1 << 20), static_cast<double>(after) / (1 << 20));
  EXPECT_LE(after - before, kMemoryLimit + (UnderSanitizer() ? kQuarantine : 0));
  EXPECT_GE(figures.refused_unseen, 200);
  EXPECT_GT(figures.accepted, 0);
  if (!UnderSanitizer()) {
    EXPECT_LE(figures.slowest_decode, kDecodeLimit);
  }
}

// What is refused by its header costs no memory either, not even for a moment.
TEST(HostileImages, HeadersCostNoMemory) {
  std::vector<HostilePicture> pictures = HostilePictures(CampaignSeed());
  std::erase_if(pictures, [](const auto& p) { return p.verdict != Verdict::kRefusedUnseen; });
  MarkPeakResident();
  const int64_t before = ResidentBytes();
  {
    // The meter sees a moment of 8 MiB.
    const std::vector<char> moment(8 << 20, 1);
    ASSERT_GE(PeakResidentBytes() - before, kMemoryLimit) << moment.size();
  }
  MarkPeakResident();
  for (const HostilePicture& picture : pictures) {
    EXPECT_FALSE(DecodeImage(picture.bytes, ImageLimits()).ok()) << picture.name;
  }
  const int64_t peak = PeakResidentBytes();
  std::printf("%zu headers: peak resident +%.2f MiB\n", pictures.size(),
              static_cast<double>(peak - before) / (1 << 20));
  if (!UnderSanitizer()) {
    EXPECT_LE(peak - before, kMemoryLimit);
  }
}

}  // namespace
}  // namespace concertina::testing
