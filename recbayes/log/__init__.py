"""What a click log is: reading, audit, splits, embedded examples."""
