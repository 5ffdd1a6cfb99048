"""`slt report`: a series as one HTML page."""
