#!/usr/bin/env python3
"""Talks about a picture: chat.py HOST:PORT PICTURE QUESTION [QUESTION...]. Stubs: see README.md."""
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2

from concertina.v1 import inference_service_pb2 as api, inference_service_pb2_grpc as rpc


def explain(error):
    """Code, text and, if the server sent one, the reason of a refusal."""
    reason = error_details_pb2.ErrorInfo()
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    any(detail.Unpack(reason) for detail in status_pb2.Status.FromString(packed).details)
    return f"{error.code().name}: {error.details()} {reason.reason}".rstrip()


def main(target, picture, *questions):
    server = rpc.InferenceServiceStub(grpc.insecure_channel(target))
    session = server.OpenSession(api.OpenSessionRequest(budget={"ratio": 0.3}), timeout=30).session
    with open(picture, "rb") as file:
        parts = [{"image": {"data": file.read()}}]
    try:
        for question in questions:
            request = api.GenerateRequest(session_id=session.session_id, parts=parts)
            request.parts.add(text=question)
            for event in server.Generate(request, timeout=120):
                print(event.delta.text, end="", flush=True)  # "" in all events but Delta
            print(f"\n[{event.completed.cache.used_bytes} bytes kept]")
            parts = []  # the conversation remembers the picture
    finally:
        server.CloseSession(api.CloseSessionRequest(session_id=session.session_id))


try:
    main(*sys.argv[1:])
except grpc.RpcError as refusal:
    sys.exit(explain(refusal))
