"""Measurements of the whole tool and of its parts; not installed with the package."""
