#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "client/client.h"

namespace concertina::testing {

// What became of the turns offered, as the client saw it.
struct LoadFigures {
  double seconds = 0;
  int offered = 0, completed = 0;
  std::map<std::string, int> refused;  // by reason
  std::string failed;                  // the first status that was neither
  std::vector<double> first_ms, between_ms;
  double lag_ms = 0;  // of the arrival that was sent latest after its time
};

// Clients that each open a session, ask for one turn of a fixed number of tokens and close it:
// texts of several lengths, every fourth turn with a picture. Drawn from the seed.
class OfferedLoad {
 public:
  OfferedLoad(const std::string& target, const std::string& picture_path);

  // `clients` of them, each with its next turn when the last is over.
  LoadFigures ClosedLoop(int clients, std::chrono::seconds time);
  // Turns that arrive as a Poisson process, whatever became of those before.
  LoadFigures OpenLoop(double per_second, std::chrono::seconds time);

 private:
  void Turn(client::Client& client, std::mt19937& random, LoadFigures* figures);
  void Merge(const LoadFigures& part, LoadFigures* sum);

  std::vector<std::unique_ptr<client::Client>> clients_;
  std::string picture_;
  std::mutex mutex_;
};

}  // namespace concertina::testing
