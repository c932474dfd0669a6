"""What any long job needs on disk and from the system: lock, checkpoints, metrics, signals."""
