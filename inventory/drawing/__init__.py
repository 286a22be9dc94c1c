"""What a drawing of a lab shows, and where everything of it goes."""
