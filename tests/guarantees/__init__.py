"""What the database refuses whoever asks, tried in plain SQL."""
