#include <exception>

#include "client/cli/invocation.h"

int main(int argc, char** argv) {
  try {
    return concertina::cli::RunCommandLine(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "concertina: %s\n", error.what());
    return concertina::cli::kExitFailed;
  }
}
