"""Where the mass of a target is, found without a flow."""
