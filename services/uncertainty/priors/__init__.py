"""Anatomical priors: what a label set cannot look like in a patient, whoever made it.

Rules see every patient lying the same way, in mm, and say nothing where the field of view cannot tell.
"""
