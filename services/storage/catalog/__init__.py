"""The catalog: which volumes, predictions, attention maps and label versions there are, and which uploads are open."""
