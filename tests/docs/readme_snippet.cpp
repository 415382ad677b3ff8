// The program of the README's client snippet: compiled here, compared with it by check_docs.py.
#include <fstream>
#include <iostream>
#include <iterator>

#include "client/budget_text.h"
#include "client/client.h"
#include "client/errors.h"
#include "client/parts.h"

namespace client = concertina::client;

int main() {
  std::ifstream file("docs/demo/scene.png", std::ios::binary);
  const std::string picture(std::istreambuf_iterator<char>(file), {});
  const auto print = [](std::string_view words) {
    std::cout << words << std::flush;
    return true;  // false stops the answer
  };

  auto server = client::Client::Connect("127.0.0.1:50051");
  client::OpenOptions options;
  options.budget = *client::ParseBudget("0.2");  // or "256t", "64MiB"
  auto conversation = server->Open(options);
  if (!conversation.ok()) return 1;
  auto answer = conversation->Ask(
      {client::ImageFile(picture), client::Text("Describe the image in detail.")}, {}, print);
  std::cout << '\n';
  if (answer.ok()) answer = conversation->Ask({client::Text("Where is the carrot?")}, {}, print);
  if (!answer.ok()) std::cerr << client::Describe(answer.status()) << '\n';
}
