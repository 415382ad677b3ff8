#include "client/admin.h"

#include <chrono>
#include <cstdio>
#include <string>

#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

constexpr double kLongestDrain = 3'600;  // what the service takes

std::unique_ptr<client::Admin> Connect(const Invocation& invocation) {
  return client::Admin::Connect(invocation.AdminTarget(), invocation.Options());
}

int ShowLoad(const Invocation& invocation) {
  const auto load = Connect(invocation)->GetLoad();
  if (!load.ok()) return Fail(invocation, load.status());
  if (invocation.json) {
    PrintJson(ToJson(*load));
    return kExitOk;
  }
  const auto count = [](int64_t value) { return FormatCount(value); };
  const auto bytes = [](int64_t value) { return FormatBytes(value); };
  std::printf("turns     %s running of %s, %s waiting of %s; %s calls in flight%s\n",
              count(load->requests_running()).c_str(), count(load->max_running()).c_str(),
              count(load->requests_waiting()).c_str(), count(load->max_waiting()).c_str(),
              count(load->calls_in_flight()).c_str(), load->draining() ? "; draining" : "");
  std::printf("sessions  %s open of %s, %s busy, %s evicted\n",
              count(load->sessions_active()).c_str(), count(load->max_sessions()).c_str(),
              count(load->sessions_busy()).c_str(), count(load->sessions_evicted()).c_str());
  std::printf("pool      %s used, %s reserved of %s\n", bytes(load->pool_used_bytes()).c_str(),
              bytes(load->pool_reserved_bytes()).c_str(),
              bytes(load->pool_capacity_bytes()).c_str());
  std::printf("memory    weights %s, pictures %s, records %s, workspace %s; resident %s\n",
              bytes(load->weights_bytes()).c_str(), bytes(load->image_cache_bytes()).c_str(),
              bytes(load->transcript_bytes()).c_str(), bytes(load->workspace_bytes()).c_str(),
              bytes(load->resident_bytes()).c_str());
  return kExitOk;
}

int Drain(const Invocation& invocation, double wait_s) {
  const std::chrono::milliseconds wait(static_cast<int64_t>(wait_s * 1000));
  const auto running = Connect(invocation)->Drain(wait);
  if (!running.ok()) return Fail(invocation, running.status());
  if (invocation.json) {
    PrintJson({{"requests_running", *running}});
  } else {
    std::printf("draining; turns in flight: %s\n", FormatCount(*running).c_str());
  }
  return kExitOk;
}

int Evict(const Invocation& invocation, const std::string& id) {
  const auto freed = Connect(invocation)->EvictSession(id);
  if (!freed.ok()) return Fail(invocation, freed.status());
  if (invocation.json) {
    PrintJson({{"session_id", id}, {"freed_bytes", *freed}});
  } else {
    std::printf("%s evicted, %s freed\n", PrintableText(id).c_str(), FormatBytes(*freed).c_str());
  }
  return kExitOk;
}

}  // namespace

void AddAdmin(CLI::App& app, Invocation& invocation) {
  auto* admin = app.add_subcommand("admin", "For operators: load, drain, evict (--admin-listen)");
  admin->fallthrough();
  admin->require_subcommand(1);
  admin->add_subcommand("load", "Shows how busy the server is")->callback([&invocation] {
    invocation.run = [&invocation] { return ShowLoad(invocation); };
  });
  auto* drain = admin->add_subcommand("drain", "Lets running turns end and takes no new ones");
  const auto wait_s = std::make_shared<double>(0);
  drain->add_option("--wait", *wait_s, "Wait up to so many seconds for turns in flight")
      ->check(CLI::Range(0.0, kLongestDrain));
  drain->callback([&invocation, wait_s] {
    invocation.run = [&invocation, wait_s] { return Drain(invocation, *wait_s); };
  });
  auto* evict = admin->add_subcommand("evict", "Frees the cache of an idle session");
  const auto id = std::make_shared<std::string>();
  evict->add_option("id", *id, "The session")->required();
  evict->callback(
      [&invocation, id] { invocation.run = [&invocation, id] { return Evict(invocation, *id); }; });
}

}  // namespace concertina::cli
