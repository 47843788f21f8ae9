"""What the scheduler does in a Kubernetes cluster: as many Triton pods as the backlog needs, and training Jobs.

`api` alone imports the client of Kubernetes; without `cluster_deployment` and `cluster_training` nothing here runs.
"""
