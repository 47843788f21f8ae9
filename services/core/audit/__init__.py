"""The audit log: who changed what and when, and who was refused; each entry is bound to all before it."""
