"""Is this model, file or endpoint equal to the trained one?"""
