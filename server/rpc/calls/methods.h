#pragma once

#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls/unary_call.h"
#include "server/rpc/environment.h"

namespace concertina::calls {

// The unary methods of InferenceService; see its .proto for their contracts.
using Reactor = grpc::ServerUnaryReactor;

Reactor* OpenSession(RpcEnvironment& env, const RawCall& raw);
Reactor* GetSession(RpcEnvironment& env, const RawCall& raw);
Reactor* ListSessions(RpcEnvironment& env, const RawCall& raw);
Reactor* UpdateSession(RpcEnvironment& env, const RawCall& raw);
Reactor* ForkSession(RpcEnvironment& env, const RawCall& raw);
Reactor* CloseSession(RpcEnvironment& env, const RawCall& raw);
Reactor* Score(RpcEnvironment& env, const RawCall& raw);
Reactor* Tokenize(RpcEnvironment& env, const RawCall& raw);
Reactor* GetModel(RpcEnvironment& env, const RawCall& raw);

}  // namespace concertina::calls
