"""The commands: each reads its options, calls a module that does the work, and shows the result."""
