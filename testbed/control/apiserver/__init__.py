"""What kubectl talks to."""
