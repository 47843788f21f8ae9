"""The demonstration: a whole campaign over synthetic CTs, or over the user's own."""
