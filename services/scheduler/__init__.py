"""Scheduler service: campaigns, rounds, the review queue and the durable work on every volume."""
