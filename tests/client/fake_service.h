#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/server.h"

namespace concertina::testing {

// What one call of Generate does: the events in order, then, if `hold`, nothing until the call is
// cancelled, then the status, with a trailer that says when to try again if pushback_ms is set.
struct FakeTurn {
  std::vector<v1::GenerateResponse> events;
  grpc::Status status;
  bool hold = false;
  int64_t pushback_ms = 0;
};

// Layers every fold of MakeTurn has.
inline constexpr int kFakeLayers = 2;

// A complete, consistent turn: started, progress, folded, one delta per word, completed.
FakeTurn MakeTurn(const std::vector<std::string>& words);

// A turn refused for now, trailers-only, as a server at its limit does it.
FakeTurn MakeRefusal(const std::string& reason, int64_t retry_ms);

// A status with google.rpc details; empty strings and 0 leave a detail out.
grpc::Status MakeError(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::string& field = "", int64_t retry_ms = 0);

// An InferenceService that does what the test says and remembers what it was asked. Thread-safe.
class FakeService final : public v1::InferenceService::Service {
 public:
  // The script: each Generate and each OpenSession takes the next of its list; OpenSession succeeds
  // when its list is empty, Generate answers "ok".
  void AddTurn(FakeTurn turn);
  void AddOpenStatus(grpc::Status status, bool open_all_the_same = false);
  void SetScore(std::function<v1::ScoreResponse(const v1::ScoreRequest&)> score);
  void SetUploadLimit(size_t bytes);
  // Sessions as if others had opened them.
  void AddSession(const std::string& id);
  void AddSession(const v1::Session& session);
  // Forks and updates answer so, once each, before they do anything.
  void AddUpdateStatus(grpc::Status status);
  // CloseSession then says true and keeps the session.
  void SetCloseIsALie();

  std::vector<v1::OpenSessionRequest> opened() const;
  std::vector<v1::GenerateRequest> asked() const;
  std::vector<v1::UpdateSessionRequest> updated() const;
  std::vector<v1::ForkSessionRequest> forked() const;
  std::vector<v1::ScoreRequest> scored() const;
  std::vector<std::string> closed() const;
  std::vector<size_t> chunks() const;
  // Metadata "x-session-id" of every call that had it, with the method: "Generate <id>".
  std::vector<std::string> routed() const;
  int cancelled() const;  // held turns that saw their cancellation
  bool WaitForAsked(size_t count) const;
  bool WaitForCancelled(int count) const;

  grpc::Status OpenSession(grpc::ServerContext*, const v1::OpenSessionRequest*,
                           v1::OpenSessionResponse*) override;
  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest*,
                        grpc::ServerWriter<v1::GenerateResponse>*) override;
  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest*, v1::ScoreResponse*) override;
  grpc::Status UploadImage(grpc::ServerContext*, grpc::ServerReader<v1::UploadImageRequest>*,
                           v1::UploadImageResponse*) override;
  grpc::Status GetSession(grpc::ServerContext*, const v1::GetSessionRequest*,
                          v1::GetSessionResponse*) override;
  grpc::Status ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest*,
                            v1::ListSessionsResponse*) override;
  grpc::Status UpdateSession(grpc::ServerContext*, const v1::UpdateSessionRequest*,
                             v1::UpdateSessionResponse*) override;
  grpc::Status ForkSession(grpc::ServerContext*, const v1::ForkSessionRequest*,
                           v1::ForkSessionResponse*) override;
  grpc::Status CloseSession(grpc::ServerContext*, const v1::CloseSessionRequest*,
                            v1::CloseSessionResponse*) override;
  grpc::Status Tokenize(grpc::ServerContext*, const v1::TokenizeRequest*,
                        v1::TokenizeResponse*) override;
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                        v1::GetModelResponse*) override;

 private:
  void Remember(const char* method, const grpc::ServerContext& context);
  grpc::Status NextUpdateStatus();  // under mutex_

  struct OpenStep {
    grpc::Status status;
    bool open_all_the_same;
  };
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<FakeTurn> turns_;
  std::deque<OpenStep> open_steps_;
  std::function<v1::ScoreResponse(const v1::ScoreRequest&)> score_;
  size_t upload_limit_ = size_t{8} << 20;
  bool close_is_a_lie_ = false;
  std::map<std::string, v1::Session> sessions_;
  std::vector<v1::OpenSessionRequest> opened_;
  std::vector<v1::GenerateRequest> asked_;
  std::deque<grpc::Status> update_steps_;
  std::vector<v1::UpdateSessionRequest> updated_;
  std::vector<v1::ForkSessionRequest> forked_;
  std::vector<v1::ScoreRequest> scored_;
  std::vector<std::string> closed_;
  std::vector<size_t> chunks_;
  std::vector<std::string> routed_;
  int cancelled_ = 0;
};

// A FakeService on a free loopback port.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  FakeService& service() { return service_; }
  grpc::Server& server() { return *server_; }
  const std::string& target() const { return target_; }

 private:
  FakeService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
};

}  // namespace concertina::testing
