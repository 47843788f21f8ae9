"""The `atlas` command: a client of the services' APIs, and the stack that runs them on one machine."""
