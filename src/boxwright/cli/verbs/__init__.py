"""The verbs: parse, build the settings, one call. Heavy imports happen inside the verb."""
