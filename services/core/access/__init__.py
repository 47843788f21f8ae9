"""Who calls, and what they may do: tokens, certificates of services, and one table from method to role."""
