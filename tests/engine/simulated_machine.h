#pragma once

#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_clock.h"

namespace concertina::testing {

// The tiny model with a trained context declared far longer than it is.
std::shared_ptr<const Model> LongTinyModel();

// An engine's observer that moves its clock: work takes what is laid down here, on any machine, so
// that a test can ask how time is shared. Thread-safe.
class SimulatedMachine final : public EngineObserver {
 public:
  static constexpr std::chrono::microseconds kDecodeStep{10'000};
  static constexpr std::chrono::microseconds kPictureRow{200};
  static constexpr std::chrono::microseconds kSlice{20};  // whatever its rows

  // Of rows in one layer of the long tiny model.
  static std::chrono::nanoseconds SliceTime(int64_t rows, int64_t first_key);

  void OnPrefillSlice(int64_t rows, int64_t first_key) override;
  void OnPictureSlice(int64_t rows) override;
  void OnBatch(int64_t rows) override;

  const std::shared_ptr<FakeClock>& clock() const { return clock_; }
  // Times of the ends of all decode steps so far.
  std::vector<std::chrono::steady_clock::time_point> steps() const;
  int picture_slices() const;

  // Stops the engine in its `slices`-th prefill slice from now on; AwaitStop returns when it is
  // there.
  void StopAfter(int slices);
  // The same at the next slice that begins a layer.
  void StopAtBeginning();
  void AwaitStop() { stopped_.acquire(); }
  void Continue() { go_on_.release(); }

 private:
  const std::shared_ptr<FakeClock> clock_ = std::make_shared<FakeClock>();
  mutable std::mutex mutex_;
  std::vector<std::chrono::steady_clock::time_point> steps_;
  int picture_slices_ = 0;
  int stop_in_ = 0;
  bool stop_at_beginning_ = false;
  std::binary_semaphore stopped_{0}, go_on_{0};
};

}  // namespace concertina::testing
