"""Holds two sets of labels against each other, case by case and organ by organ."""
