"""The report of a flow of images."""
