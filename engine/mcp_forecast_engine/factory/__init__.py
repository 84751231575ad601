"""A training request becomes a plan, and the plan a trained, measured artifact."""
