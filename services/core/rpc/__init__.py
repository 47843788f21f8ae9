"""gRPC, the same for every service: server, client, errors, logs, metrics."""

import os

# gRPC writes a line of its own, none of our JSON, for every handshake that fails, and anybody may let one fail.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
