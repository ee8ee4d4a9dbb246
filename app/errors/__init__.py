"""What a visitor sees when something goes wrong."""
