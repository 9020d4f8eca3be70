"""Archives: many images in one file, in groups that are coded apart (docs/format.md, "Archives")."""
