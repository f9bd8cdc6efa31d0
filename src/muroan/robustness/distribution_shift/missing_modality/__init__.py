"""The missing modality probe."""
