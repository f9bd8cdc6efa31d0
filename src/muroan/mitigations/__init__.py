"""What makes a model safer: one file a method."""
