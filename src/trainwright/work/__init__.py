"""Jobs, and the processes that work them off."""
