"""Published weights into model folders: what is read, how names are matched, what is written. Runs nothing foreign."""
