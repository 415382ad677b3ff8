#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "models/runner/prompt_pass.h"
#include "models/vision/vision_job.h"

namespace concertina {

// A prompt on its way, from its embeddings to its last layer. Owned by its task; the engine keeps
// few of them alive (actions/prompt_order.h).
struct PromptState {
  // Token embeddings, each picture's features in their place once they are computed; `prefill`
  // takes them over.
  std::vector<float> embeddings;
  bool embedded = false;
  size_t pictures_done = 0;
  // The next picture's features, while they are computed.
  std::shared_ptr<std::vector<float>> features;
  std::unique_ptr<VisionJob> vision;
  std::chrono::nanoseconds vision_time{0};
  // Set when all pictures are in place.
  std::unique_ptr<PromptPass> prefill;

  // In multiply-adds (prompt_work.h), for who goes first.
  double work = 0;       // of the whole prompt
  double done = 0;       // so far
  double overtaken = 0;  // done by others that overtook this one

  int64_t bytes() const {
    int64_t bytes = static_cast<int64_t>(embeddings.capacity() * sizeof(float));
    if (vision) bytes += vision->bytes();
    if (prefill) bytes += prefill->bytes();
    return bytes;
  }
};

}  // namespace concertina
