#pragma once

#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace concertina {

// What both servers of the process have in common.

// Services of health.
inline constexpr char kLiveness[] = "liveness";
inline constexpr char kReadiness[] = "readiness";

// Must be called before a ServerBuilder is made: gRPC's plugins (health, reflection, channelz) are
// process-wide, and every builder made later has all of them.
void EnablePlugins();

// Takes channelz, which tells of everybody's connections, from the server about to be built.
void RemoveChannelz(grpc::ServerBuilder& builder);

// Keepalive, no compressed requests (a few bytes could become gigabytes before anybody sees them)
// and a port of its own.
void Harden(grpc::ServerBuilder& builder);

// Health of "", of `service` and of readiness. Liveness is SERVING for as long as the server is.
void SetServing(grpc::Server& server, const char* service, bool serving);

}  // namespace concertina
