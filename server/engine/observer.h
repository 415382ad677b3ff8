#pragma once

#include <cstdint>
#include <string_view>

#include "server/engine/events.h"

namespace concertina {

// State of the engine as gauges, taken after every step and at least twice a second.
struct EngineGauges {
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t sessions_active = 0;
  int64_t sessions_busy = 0;
  int64_t sessions_evicted = 0;
  bool draining = false;
  int64_t pool_used_bytes = 0;
  int64_t pool_reserved_bytes = 0;
  int64_t pool_capacity_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t device_bytes = 0;  // in use on an accelerator
  int64_t transcript_bytes = 0;
};

// What the engine tells whoever counts. Called on the engine thread; must return at once.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnGauges(const EngineGauges&) {}
  virtual void OnPrompt(int64_t /*text_tokens*/, int64_t /*image_tokens*/) {}
  // One fold of a whole session; sums over layers and heads.
  virtual void OnFold(std::string_view /*policy*/, int64_t /*entries_dropped*/, double /*ratio*/,
                      double /*mass_kept*/, double /*seconds*/) {}
  // A turn's prompt is folded for good.
  virtual void OnQuality(std::string_view /*policy*/, const TurnQuality&) {}
  // A probe took so long, whether or not its prompt is read again.
  virtual void OnProbe(double /*seconds*/) {}
  virtual void OnDecodeEviction(std::string_view /*policy*/, int64_t /*entries*/) {}
  virtual void OnReusedEntries(int64_t /*entries*/) {}
  virtual void OnBatch(int64_t /*rows*/) {}
  // Rows of a prompt went through one layer; the first saw `first_key` entries beside them.
  virtual void OnPrefillSlice(int64_t /*rows*/, int64_t /*first_key*/) {}
  // Rows of a picture went through a stage of the vision tower.
  virtual void OnPictureSlice(int64_t /*rows*/) {}
  virtual void OnFirstToken(double /*seconds*/) {}
  virtual void OnInterToken(double /*seconds*/) {}
  virtual void OnVision(double /*seconds*/) {}
  // reason: stop, length, stop_string, cancelled, deadline, error.
  virtual void OnTurnEnd(std::string_view /*reason*/, const TurnTimings&, int64_t /*generated*/,
                         double /*used_share_of_full*/) {}
  // reason: closed, expired.
  virtual void OnSessionClosed(std::string_view /*reason*/) {}
  // An idle session's cache was given up. reason: pool (another turn needed the room), admin.
  virtual void OnEvicted(std::string_view /*reason*/, int64_t /*freed_bytes*/) {}
  virtual void OnRebuild() {}
};

}  // namespace concertina
