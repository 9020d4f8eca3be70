"""What is measured, and how it is told: formats side by side, what moved since, where an image's bits go."""
