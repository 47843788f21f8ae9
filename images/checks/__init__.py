"""Try the images that were built: `python -m images.checks [storage triton ...]` (`make images-check`).

What each image holds is compared with its lock and its bill of materials; then the containers run as the chart's
evaluation profile says, in one network that leads nowhere.
"""
