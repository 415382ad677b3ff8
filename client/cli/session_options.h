#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/client.h"

namespace concertina::cli {

// Flags about a cache: --policy --budget --entry-type --pure-sink --adaptive-heads --merge
// --turn-fold. Values are checked while the command line is parsed. Of sessions only, AddProbeTo:
// --probe-tokens --min-quality --repeat-when-idle; AddImagesTo: --image-budget --merge-images.
struct CacheFlags {
  std::string policy;
  std::string budget;
  std::string entry_type;
  std::string merge;
  std::string turn_fold;
  bool pure_sink = false;
  bool adaptive_heads = false;
  bool pin_system = false;  // a flag of conversations only
  std::optional<int32_t> probe_tokens;
  double min_quality = 0;
  bool repeat_when_idle = false;  // of sessions only
  std::optional<double> image_budget;
  bool merge_images = false;

  void AddTo(CLI::App& command);
  void AddProbeTo(CLI::App& command);
  void AddImagesTo(CLI::App& command);
  // Whether any flag that belongs to the policy was given.
  bool has_policy() const;
  v1::CachePolicy Policy() const;
  // REQUIRES: a budget was given.
  v1::Budget Budget() const;
};

// Flags of the subcommands that hold a conversation: the above and --system --pin-system
// --max-tokens --temperature --top-p --seed --stop.
struct ConversationFlags {
  CacheFlags cache;
  std::string session_id;  // of an open session; empty: a new one
  std::string system_prompt;
  client::AskOptions ask;

  void AddTo(CLI::App& command);
  // --session, which excludes the flags of a new one. After AddTo.
  void AddSessionTo(CLI::App& command);
  client::OpenOptions Open() const;
  // A new session, or the one asked for.
  absl::StatusOr<client::Conversation> Begin(client::Client& server) const;
};

}  // namespace concertina::cli
