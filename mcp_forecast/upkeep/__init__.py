"""What is done to a whole home: collected, backed up, restored."""
