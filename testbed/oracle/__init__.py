"""What the Service spec promises for a flow. Pure, and independent of the rules."""
