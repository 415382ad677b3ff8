#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "cache/conversation_cache.h"
#include "models/runner/prompt_pass.h"
#include "models/vision/vision_job.h"

namespace concertina {

// What is looked at again once a prompt is folded (actions/probe.h).
struct ProbeState {
  int32_t rows = 0;               // the prompt's last
  int64_t position = 0;           // of the first of them
  std::vector<float> embeddings;  // [rows, hidden]; the second pass takes them over
  std::vector<float> unfolded;    // [rows, hidden], what came out of the prompt's own pass
  bool reading = false;           // the second pass is under way or through
  std::vector<float> pairs;       // scratch of the comparison
  std::chrono::steady_clock::time_point begin;
  // The cache as it was before the prompt, to fold it again; null where that would not help.
  std::unique_ptr<ConversationCache> before;

  int64_t bytes() const {
    const size_t floats = embeddings.capacity() + unfolded.capacity() + pairs.capacity();
    return static_cast<int64_t>(floats * sizeof(float));
  }
};

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
  // Set when all pictures are in place; the probe's own takes its place.
  std::unique_ptr<PromptPass> prefill;
  std::unique_ptr<ProbeState> probe;  // null without one

  // In multiply-adds (prompt_work.h), for who goes first.
  double work = 0;       // of the whole prompt
  double done = 0;       // so far
  double overtaken = 0;  // done by others that overtook this one

  int64_t bytes() const {
    int64_t bytes = static_cast<int64_t>(embeddings.capacity() * sizeof(float));
    if (vision) bytes += vision->bytes();
    if (prefill) bytes += prefill->bytes();
    if (probe) bytes += probe->bytes();
    return bytes;
  }
};

}  // namespace concertina
