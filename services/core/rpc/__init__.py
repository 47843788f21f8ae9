"""gRPC, the same for every service: server, client, errors, logs, metrics."""
