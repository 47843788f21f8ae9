"""Makes one label version out of source labels, revisions and predictions."""
