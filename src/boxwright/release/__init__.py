"""Export, archive, serve and check, in one step."""
