"""What more than one service stands on. Imports no service."""
