"""The product's services and the libraries they stand on; `docs/architecture.md` says what stands where."""
