"""What everything else stands on: records and their names, the manifest and the plan, errors, seeds."""
