"""The storage service: the only one that holds the keys to the objects and the catalog."""
