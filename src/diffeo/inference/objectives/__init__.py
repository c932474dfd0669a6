"""What a flow is trained to minimise when only a log density is known."""
