"""The values of the Helm chart as typed models: `values.yaml` and `values.schema.json` are written from them."""
