#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "tests/support/server/in_process_server.h"

namespace concertina::testing {

// Waits until it holds, or for long enough that only a fault explains the wait; whether it holds.
bool Eventually(const std::function<bool()>& holds);

// A server on the tiny LLaVA model, one per test; the model is loaded once. Its trained context is
// declared far longer than it is, so that a turn can be made to last for seconds.
class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();

  // The settings of TinyLlavaConfig, changed by `change`.
  void StartServer(const std::function<void(ServerConfig&)>& change = {},
                   bool with_metrics = false);

  static const std::shared_ptr<const Model>& model() { return loaded; }
  InProcessServer& server() { return *server_; }
  v1::InferenceService::Stub& stub() { return server_->stub(); }

  // A turn that takes seconds unless it is stopped.
  static v1::GenerateRequest LongTurn(const std::string& session_id);

  v1::Session SessionOrDie(const std::string& session_id);
  // Waits for the session's turn to end; false if it goes on.
  bool BecomesIdle(const std::string& session_id);

  // Sum of the series of /metrics with this name and, if given, label ("reason=\"INVALID\"").
  double Metric(const std::string& name, const std::string& label = "");

 private:
  static std::shared_ptr<const Model> loaded;
  std::unique_ptr<InProcessServer> server_;
};

}  // namespace concertina::testing
