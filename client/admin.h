#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "concertina/v1/admin_service.pb.h"

namespace concertina::client {

// A connection to a server's AdminService, which has an address of its own (--admin-listen).
// Thread-safe. Errors carry details: see client/errors.h.
class Admin {
 public:
  // To "HOST:PORT", without encryption. Returns at once: the first call connects.
  static std::unique_ptr<Admin> Connect(const std::string& target,
                                        const ClientOptions& options = {});
  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  // How busy the server is now.
  absl::StatusOr<v1::GetLoadResponse> GetLoad();

  // No new sessions and turns from now on. Returns once nothing runs any more, or after `wait`: the
  // turns still in flight.
  absl::StatusOr<int64_t> Drain(std::chrono::milliseconds wait);

  // Frees the cache of an idle session: the bytes given back. NOT_FOUND, or ABORTED
  // (TURN_IN_FLIGHT).
  absl::StatusOr<int64_t> EvictSession(const std::string& id);

 private:
  struct State;
  explicit Admin(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace concertina::client
