#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"

namespace concertina::testing {

inline constexpr int kScriptTurns = 4;

// A conversation about a picture, drawn from the seed.
struct Script {
  std::string policy;
  double budget;  // ratio
  int scene;
  int second_scene;  // in the third turn; -1: none
  std::array<std::string, kScriptTurns> questions;
  int32_t max_tokens;
};
std::vector<Script> DrawScripts(int count, int32_t max_tokens);
std::string Describe(const Script& script);

// What was answered, and how long it took as the client saw it.
struct Talk {
  std::vector<std::vector<int32_t>> tokens;
  std::string error;
  std::vector<double> first_ms;    // from question to first token
  std::vector<double> between_ms;  // from one event with tokens to the next

  void AddTimes(const Talk& other);
};
Talk Converse(client::Client& client, const Script& script);

// Appends to `talk` when tokens came, given all events of one turn.
class TokenTimes {
 public:
  explicit TokenTimes(Talk* talk) : talk_(talk) {}
  void OnEvent(const v1::GenerateResponse& event);

 private:
  Talk* talk_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool first_ = true;
};

}  // namespace concertina::testing
