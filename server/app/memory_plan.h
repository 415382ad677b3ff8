#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/bundle/model.h"
#include "server/app/server_config.h"

namespace concertina {

// The most memory that one part of the process may take.
struct MemoryPart {
  std::string name;  // "pool"
  int64_t bytes = 0;
  std::string why;  // how it follows from settings and model
};

// An upper bound of the process's resident memory, part by part. docs/operations.md explains the
// arithmetic; resource requests are derived from it.
struct MemoryPlan {
  std::vector<MemoryPart> parts;

  int64_t total_bytes() const;
  int64_t bytes_of(const std::string& name) const;  // 0: no such part
};

// `workspace_bytes`: Engine::workspace_bound_bytes().
MemoryPlan PlanMemory(const ServerConfig& config, const Model& model, int64_t workspace_bytes);

// Lines `name_bytes = 123  # why`, the total last as memory_bound_bytes: TOML.
std::string FormatMemoryPlan(const MemoryPlan& plan);

// The same in one line of MiB, for the log.
std::string SummariseMemoryPlan(const MemoryPlan& plan);

}  // namespace concertina
